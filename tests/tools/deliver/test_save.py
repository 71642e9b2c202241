"""Saving and checking: what is written is what was measured, and nothing of somebody else is touched."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from safetensors.torch import load_file, save_file

from tools.deliver.save import save_model
from tools.deliver.verify import answer, verify_saved, write_request
from tools.io.errors import SecateurError
from tools.model.architecture import describe, weight
from tools.model.checkpoint import Model, fingerprint, open_model
from tools.model.sparsity import sparsities
from tools.recipe import Recipe

RECIPE = Recipe(sparsity=0.5, metric="W")
PROBE = torch.arange(40, 64)[None]


def logits(model: Model) -> torch.Tensor:
    with torch.no_grad():
        out: torch.Tensor = model.network(input_ids=PROBE, use_cache=False).logits
    return out


def prune(model: Model) -> None:
    """Zero a different share of every projection."""
    for index, projection in enumerate(model.architecture.projections):
        matrix = weight(model.network, projection)
        matrix[:, :: index % 3 + 2] = 0


def check(folder: Path, model: Model) -> None:
    verify_saved(folder, expected_sparsity=sparsities(model), probe=PROBE, logits=logits(model), dtype=model.dtype)


def check_here(folder: Path, model: Model) -> None:
    """The same comparison without a fresh process, which takes seconds to start."""
    request = folder.with_name("request.safetensors")
    write_request(request, expected_sparsity=sparsities(model), probe=PROBE, logits=logits(model), dtype=model.dtype)
    answer(folder, request)


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


VOCABULARY: dict[str, Any] = {"vocab_size": 512, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
SHAPE = VOCABULARY | {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
OLDER = VOCABULARY | {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
CONFIGURATIONS = {
    "llama": tf.LlamaConfig(**SHAPE, tie_word_embeddings=True),
    "mistral": tf.MistralConfig(**SHAPE),
    "qwen2": tf.Qwen2Config(**SHAPE),
    "qwen3": tf.Qwen3Config(**SHAPE, head_dim=8),
    "gemma2": tf.Gemma2Config(**SHAPE, head_dim=8),
    "gemma3_text": tf.Gemma3TextConfig(**SHAPE, head_dim=8),
    "phi3": tf.Phi3Config(**SHAPE),
    "opt": tf.OPTConfig(**OLDER, ffn_dim=48, word_embed_proj_dim=16),
    "gpt_neox": tf.GPTNeoXConfig(**OLDER, intermediate_size=48),
    "gpt2": tf.GPT2Config(**VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=64),
}


def test_every_family_keeps_its_zeros_in_a_fresh_process(trained: Model, tmp_path: Path) -> None:
    for family, config in CONFIGURATIONS.items():
        torch.manual_seed(0)
        network: Any = tf.AutoModelForCausalLM.from_config(config).eval()
        model = Model(family, tmp_path, network, trained.tokenizer, describe(network), "0" * 16, "float32", "cpu")
        prune(model)
        zeros = sparsities(model)
        assert all(0.2 < share < 0.6 for share in zeros.values())
        save_model(model, tmp_path / family, recipe=RECIPE, card="")
        request = tmp_path / f"{family}.safetensors"
        write_request(request, expected_sparsity=zeros, probe=PROBE, logits=logits(model), dtype="float32")
    code = "import sys; from pathlib import Path; from tools.deliver.verify import answer\n"
    code += "for name in sys.argv[2:]: answer(Path(sys.argv[1]) / name, Path(sys.argv[1]) / f'{name}.safetensors')"
    command = [sys.executable, "-c", code, str(tmp_path), *CONFIGURATIONS]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_saved_model_is_whole_and_passes_its_check(trained: Model, tmp_path: Path) -> None:
    prune(trained)
    folder = tmp_path / "deep" / "result"
    save_model(trained, folder, recipe=RECIPE, card="# Card\n")
    assert Recipe.load(folder / "recipe.yaml") == RECIPE
    assert (folder / "README.md").read_text() == "# Card\n"
    assert [path.name for path in folder.parent.iterdir()] == ["result"]
    assert len({file.stat().st_mode for file in folder.iterdir()}) == 1
    check(folder, trained)
    again = open_model(str(folder), cache=tmp_path)
    assert sparsities(again) == sparsities(trained)
    assert again.fingerprint != trained.fingerprint


def test_half_precision_passes_its_check(tmp_path: Path) -> None:
    model = open_model("tiny", cache=tmp_path, dtype="bfloat16")
    prune(model)
    save_model(model, tmp_path / "result", recipe=RECIPE, card="")
    check_here(tmp_path / "result", model)


def refill(folder: Path) -> None:
    """One zero comes back: too little for the logits, not for the count."""
    rewrite(folder, lambda tensors: tensors["model.layers.4.mlp.down_proj.weight"][0, 0].fill_(1e-7))


def change_a_norm(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors["model.norm.weight"].mul_(1.01))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (refill, r"model\.layers\.4\.mlp\.down_proj has .* zeros after reloading"),
        (change_a_norm, "logits differ by"),
    ],
)
def test_a_folder_that_is_not_the_measured_model_fails_its_check(
    change: Callable[[Path], None], message: str, trained: Model, tmp_path: Path
) -> None:
    prune(trained)
    folder = tmp_path / "result"
    save_model(trained, folder, recipe=RECIPE, card="")
    change(folder)
    with pytest.raises(SecateurError, match=message) as caught:
        check_here(folder, trained)
    assert "\n" not in str(caught.value)


def test_a_failed_check_says_in_one_line_what_differs(trained: Model, tmp_path: Path) -> None:
    prune(trained)
    save_model(trained, tmp_path / "result", recipe=RECIPE, card="")
    weight(trained.network, trained.architecture.projections[0]).zero_()
    with pytest.raises(
        SecateurError, match=r"result did not pass its check: model\.layers\.0\.\S+ has 50\.0000% zeros"
    ):
        check(tmp_path / "result", trained)


def test_what_is_not_ours_is_never_overwritten(trained: Model, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.tex").write_text("years of work")
    with pytest.raises(SecateurError, match="is not empty and holds no pruned model"):
        save_model(trained, theirs, recipe=RECIPE, card="")
    with pytest.raises(SecateurError, match="is a file"):
        save_model(trained, theirs / "thesis.tex", recipe=RECIPE, card="")
    assert (theirs / "thesis.tex").read_text() == "years of work"
    with pytest.raises(SecateurError, match="is the model that was opened"):
        save_model(trained, trained.folder, recipe=RECIPE, card="")


def test_an_earlier_result_is_replaced(trained: Model, tmp_path: Path) -> None:
    folder = tmp_path / "result"
    save_model(trained, folder, recipe=RECIPE, card="first")
    (folder / "stale.safetensors").touch()
    prune(trained)
    save_model(trained, folder, recipe=RECIPE, card="second")
    assert (folder / "README.md").read_text() == "second"
    assert not (folder / "stale.safetensors").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["result"]


def test_what_fails_its_check_leaves_the_earlier_result(trained: Model, tmp_path: Path) -> None:
    folder = tmp_path / "result"
    save_model(trained, folder, recipe=RECIPE, card="first")

    def fail(place: Path) -> None:
        assert (place / "README.md").read_text() == "second"
        raise SecateurError("is not what was measured")

    with pytest.raises(SecateurError, match="is not what was measured"):
        save_model(trained, folder, recipe=RECIPE, card="second", finish=fail)
    assert (folder / "README.md").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["result"]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Writing more than `size` bytes into a file fails, as it does on a disk that fills up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_up_leaves_the_earlier_result(trained: Model, tmp_path: Path) -> None:
    folder = tmp_path / "result"
    save_model(trained, folder, recipe=RECIPE, card="first")
    before = fingerprint(folder)
    prune(trained)
    with (
        largest_file(100_000),
        pytest.raises(SecateurError, match=r"written: file too large$") as caught,
    ):
        save_model(trained, folder, recipe=RECIPE, card="second")
    assert "\n" not in str(caught.value)
    assert fingerprint(folder) == before
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["result"]


def test_a_disk_that_is_too_small_is_refused_at_once(trained: Model, tmp_path: Path) -> None:
    trained.network.huge = torch.nn.Parameter(torch.empty(10**15, device="meta"))
    with pytest.raises(SecateurError, match=r"2,000,000,\d\d\d\.\d MB are needed, .* MB are free"):
        save_model(trained, tmp_path / "deep" / "result", recipe=RECIPE, card="")
    assert not (tmp_path / "deep").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission_gets_one_line(trained: Model, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(SecateurError, match="permission denied"):
        save_model(trained, tmp_path / "result", recipe=RECIPE, card="")


def test_contradicting_generation_settings_do_not_stop_saving(trained: Model, tmp_path: Path) -> None:
    settings: Any = trained.network.generation_config
    settings.do_sample, settings.temperature = False, 0.6
    save_model(trained, tmp_path / "result", recipe=RECIPE, card="")
    assert (tmp_path / "result" / "generation_config.json").exists()
