"""The science of worldwide CLIP: functions and small classes over NumPy, Arrow and torch, without Ray."""
