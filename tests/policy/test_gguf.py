"""Models from GGUF files: the weights that were written, a tokenizer, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM
from transformers.convert_slow_tokenizer import bytes_to_unicode

from evenflow.cli import main
from evenflow.errors import UserError
from evenflow.policy.gguf import cache
from evenflow.policy.loading import load_model, load_tokenizer, resolve
from evenflow.policy.shape import empty_model

gguf = pytest.importorskip("gguf")
BYTES = list(bytes_to_unicode().values())
TOKENS = [*BYTES, "ab", "abc", "<|im_end|>"]
HIDDEN, LAYERS = 64, 2


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def original() -> Any:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(TOKENS),
        hidden_size=HIDDEN,
        intermediate_size=96,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=False,
    )
    return Qwen2ForCausalLM(config).eval()


def write(
    path: Path,
    model: Any,
    kind: str = "F32",
    architecture: str = "qwen2",
    *,
    without: str = "none",
    layers: int | None = None,
    parts: int = 1,
) -> Path:
    """The model as llama.cpp writes it; without the weights whose names hold `without`."""
    config, names = model.config, {}
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_block_count(config.num_hidden_layers if layers is None else layers)
    if parts > 1:
        writer.add_uint16("split.count", parts)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([1] * (len(TOKENS) - 1) + [3])
    writer.add_token_merges(["a b", "ab c"])
    writer.add_eos_token_id(len(TOKENS) - 1)
    names |= {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    inner = {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    for layer in range(config.num_hidden_layers):
        names |= {f"model.layers.{layer}.{k}": f"blk.{layer}.{v}" for k, v in inner.items()}
    for name, tensor in model.state_dict().items():
        module, _, end = name.rpartition(".")
        if without in name:
            continue
        values = tensor.float().numpy()
        if values.ndim == 1 or kind == "F32":
            writer.add_tensor(f"{names[module]}.{end}", values)
        elif kind == "F16":
            writer.add_tensor(f"{names[module]}.{end}", values.astype("float16"))
        else:
            quantised = gguf.quants.quantize(values, gguf.GGMLQuantizationType[kind])
            of = gguf.GGMLQuantizationType[kind]
            writer.add_tensor(f"{names[module]}.{end}", quantised, raw_dtype=of)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    ("kind", "dtype", "error"),
    [
        ("F32", torch.float32, 0.0),
        ("F16", torch.float16, 1e-4),
        ("Q8_0", torch.bfloat16, 1e-3),
    ],
)
def test_the_weights_are_those_that_were_written(
    original: Any, tmp_path: Path, kind: str, dtype: torch.dtype, error: float
) -> None:
    path = write(tmp_path / f"model-{kind}.gguf", original, kind)
    model = load_model(str(path), "auto")
    assert next(model.parameters()).dtype == dtype
    written = model.state_dict()
    for name, tensor in original.state_dict().items():
        assert (written[name].float() - tensor).abs().max() <= error, name


def test_its_tokenizer_comes_with_it(original: Any, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(write(tmp_path / "model.gguf", original)))
    ids = tokenizer("abcb", add_special_tokens=False).input_ids
    assert ids == [TOKENS.index("abc"), TOKENS.index("b")]
    assert tokenizer.decode(ids) == "abcb"
    assert tokenizer.eos_token == "<|im_end|>"


def test_a_file_is_read_once_and_a_changed_one_again(
    original: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "model.gguf", original)
    first = resolve(str(path))
    assert "dequantised, once" in capsys.readouterr().out
    assert resolve(str(path)) == first
    assert capsys.readouterr().out == ""
    write(path, original, "F16")
    assert resolve(str(path)) != first
    assert len(list(cache().iterdir())) == 2


def test_a_model_from_a_file_is_planned_and_sampled(original: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "model.gguf", original)
    assert main(["sample", str(path), "--prompt", "abc", "--max-tokens", "3"]) == 0
    assert main(["plan", "countdown", f"model.path={path}", "data.chat=false"]) == 0


def test_what_cannot_be_read_is_a_sentence_and_leaves_nothing(
    original: Any, tmp_path: Path
) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(b"not what it says")
    with pytest.raises(UserError, match="is no GGUF file"):
        resolve(str(other))
    strange = write(tmp_path / "strange.gguf", original, architecture="orrery")
    with pytest.raises(UserError, match=r"Transformers cannot read strange\.gguf: .*orrery"):
        resolve(str(strange))
    with pytest.raises(UserError, match=r"t5 is no causal language model$"):
        resolve(str(write(tmp_path / "encoder.gguf", original, architecture="t5")))
    with pytest.raises(UserError, match="there is no file"):
        resolve(str(tmp_path / "none.gguf"))
    assert not cache().exists() or list(cache().iterdir()) == []


@pytest.mark.parametrize("kept", [2, 4, 8, 20, 100, 5000, 0.5, -10])
def test_a_file_that_is_cut_short_is_named_as_that(
    original: Any, tmp_path: Path, kept: float
) -> None:
    path = write(tmp_path / "model.gguf", original)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept) if 0 < kept < 1 else int(kept)])
    with pytest.raises(UserError, match=r"model\.gguf is cut short or damaged: its [\d,]+ bytes"):
        resolve(str(path))


@pytest.mark.parametrize(
    ("at", "put", "says"),
    [
        (4, b"\x63", "cannot read model.gguf: .*version 99"),
        (4, b"\0\0\0\3", "cut short or damaged"),
        (8, b"\xff" * 8, "cut short or damaged"),
        (16, b"\xff" * 7 + b"\x7f", "cut short or damaged"),
        (0, b"FUGG", "is no GGUF file"),
    ],
)
def test_a_damaged_header_is_a_sentence(
    original: Any, tmp_path: Path, at: int, put: bytes, says: str
) -> None:
    path = write(tmp_path / "model.gguf", original)
    whole = bytearray(path.read_bytes())
    whole[at : at + len(put)] = put
    path.write_bytes(bytes(whole))
    with pytest.raises(UserError, match=says) as caught:
        resolve(str(path))
    assert "\n" not in str(caught.value)


def test_what_is_no_model_by_its_name(original: Any, tmp_path: Path) -> None:
    (tmp_path / "empty.gguf").touch()
    with pytest.raises(UserError, match=r"empty\.gguf is empty"):
        resolve(str(tmp_path / "empty.gguf"))
    path = write(tmp_path / "model.gguf", original).rename(tmp_path / "model")
    with pytest.raises(UserError, match=r"is no folder; .* ends in \.gguf"):
        resolve(str(path))
    (tmp_path / "folder.gguf").mkdir()
    with pytest.raises(UserError, match=r"^model\.path: there is no model in"):
        empty_model(str(tmp_path / "folder.gguf"))


@pytest.mark.parametrize(
    ("without", "layers", "lacking"),
    [
        ("layers.1.", None, "lacks 12 of the weights"),
        ("layers.0.self_attn.q_proj.weight", None, "lacks 1 of the weights"),
        ("embed_tokens", None, "lacks 1 of the weights"),
        (".", None, "lacks 27 of the weights"),
        ("none", 3, "lacks 12 of the weights"),
    ],
)
def test_a_file_that_lacks_weights_is_refused_each_time(
    original: Any, tmp_path: Path, without: str, layers: int | None, lacking: str
) -> None:
    path = write(tmp_path / "model.gguf", original, without=without, layers=layers)
    for _ in range(2):  # nothing with random numbers in it was kept
        with pytest.raises(UserError, match=rf"model\.gguf {lacking}"):
            resolve(str(path))
    assert list(cache().iterdir()) == []


def test_layers_that_the_header_does_not_count_are_warned_of(
    original: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    resolve(str(write(tmp_path / "model.gguf", original, layers=1)))
    assert "model.gguf holds 12 weights that Qwen2ForCausalLM has no place for" in caplog.text


@pytest.mark.parametrize(
    ("name", "parts"), [("model-00001-of-00002.gguf", 1), ("model.gguf", 2), ("m.gguf", 3)]
)
def test_a_part_of_a_model_is_no_model(
    original: Any, tmp_path: Path, name: str, parts: int
) -> None:
    path = write(tmp_path / name, original, parts=parts)
    with pytest.raises(UserError, match=rf"{name} is one of {max(parts, 2)} parts of a model"):
        resolve(str(path))


def test_one_part_of_one_is_whole(original: Any, tmp_path: Path) -> None:
    assert resolve(str(write(tmp_path / "model-00001-of-00001.gguf", original)))


def test_what_lies_beside_the_file_is_not_read(original: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "model.gguf", original)
    alone = load_tokenizer(str(path)).get_vocab()
    other = tmp_path / "beside"
    other.mkdir()
    for each in Path(resolve("builtin:countdown")).glob("*token*.json"):
        (other / each.name).write_bytes(each.read_bytes())
    assert load_tokenizer(str(write(other / "model.gguf", original))).get_vocab() == alone


def test_a_cache_that_cannot_be_written_is_named(
    original: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(taken))
    with pytest.raises(UserError, match="XDG_CACHE_HOME names another place"):
        resolve(str(write(tmp_path / "model.gguf", original)))


def test_without_the_package_it_is_asked_for(
    original: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "model.gguf", original)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs a package: pip install .*\[gguf\]"):
        resolve(str(path))
