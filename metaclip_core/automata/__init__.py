"""Finding many patterns in many texts at once: three engines behind one protocol, with the same results."""
