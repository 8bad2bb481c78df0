"""Tensors written to files: the same bytes for the same content, and read back whole."""

import pytest
import torch

from fmri_utils.project.tensors import read_safetensors, write_safetensors


@pytest.mark.parametrize("texts", [None, {"one": "1"}, {k: f'ä "{k}"\n\t\x01' for k in "dcbaef"}])
def test_the_same_content_gives_the_same_bytes(tmp_path, texts):
    tensors = {"weight": torch.randn(3, 5), "bias": torch.arange(4.0).half()}
    written = set()
    for i in range(12):  # the library alone gives one of 720 orders of six texts at random
        path = tmp_path / f"{i}.safetensors"
        write_safetensors(path, tensors, texts)
        written.add(path.read_bytes())
    assert len(written) == 1
    back, about = read_safetensors(path, what="two tensors", remedy="")
    assert about == (texts or {})
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(back[name], tensor) and back[name].dtype == tensor.dtype
