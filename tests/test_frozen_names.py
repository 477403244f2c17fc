"""Names that other parts and later versions rely on: to change one is to change every program that calls it."""

import importlib
import inspect

import pytest

SIGNATURES = {
    "metaclip_core.balancing.t_to_p": "(counts, t)",
    "metaclip_core.balancing.p_to_t": "(counts, p)",
    "metaclip_core.balancing.entry_probabilities": "(counts, t)",
    "metaclip_core.balancing.pair_probability": "(entry_probabilities, entry_ids)",
    "metaclip_core.draws.uniform": "(pair_ids, *, purpose, epoch, seed)",
    "metaclip_core.languages.metadata_language": "(label, *, namespace='lid176')",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_frozen_name_keeps_its_signature(name):
    module, function = name.rsplit(".", 1)
    signature = inspect.signature(getattr(importlib.import_module(module), function))
    parameters = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
    assert str(inspect.Signature(parameters)) == SIGNATURES[name]


def test_frozen_constant_other_keeps_its_word():
    assert importlib.import_module("metaclip_core.languages").OTHER == "other"
