"""What ends an answer, by tokenizer, generation config, recipe and chat template."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from evenflow.config import DataConfig
from evenflow.data import Prompt
from evenflow.errors import UserError
from evenflow.policy.stops import stop_ids
from evenflow.rollout.stopping import chat_ends, require_vocabulary, turn_end

LLAMA = (
    "{{ bos_token }}{% for m in messages %}<|start|>{{ m.role }}<|stop|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant<|stop|>\n\n{% endif %}"
)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>"
    "{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content }}<end_of_turn>\n{% endfor %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content }} </s>{% endif %}{% endfor %}"
)
GLM = "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% endfor %}"
PLAIN = "{% for m in messages %}### {{ m.role }}:\n{{ m.content }}\n\n{% endfor %}"
NO_ASSISTANT = (
    "{% for m in messages %}{% if m.role != 'user' %}{{ raise_exception('no') }}{% endif %}"
    "<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
)
DEAF = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}<|im_end|>{% endif %}"
    "{% endfor %}"
)
MARKS = [
    *("<s>", "</s>", "<|endoftext|>", "<|start|>", "<|stop|>", "<|eot_id|>", "<|im_start|>"),
    *("<|im_end|>", "<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]", "<|user|>"),
    "<|assistant|>",
]
ROWS = 40


def tokenizer(template: str | None, eos: str | None = "<|endoftext|>") -> Any:
    words = ["<unk>", *MARKS, "user", "assistant", "model", "Hello", "Sure", "#", ":"]
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    made = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<s>",
        eos_token=eos,
        unk_token="<unk>",
        additional_special_tokens=MARKS,
    )
    made.chat_template = template
    return made


def model(eos: Any = None, rows: int = ROWS) -> Any:
    return SimpleNamespace(
        generation_config=SimpleNamespace(eos_token_id=eos),
        get_input_embeddings=lambda: torch.nn.Embedding(rows, 1),
    )


def prompt(text: Any = "Hello", ids: tuple[int, ...] = (1, 2)) -> Prompt:
    return Prompt("key", text, ids, {})


@pytest.mark.parametrize(
    ("template", "end"),
    [
        (LLAMA, "<|eot_id|>"),
        (CHATML, "<|im_end|>"),
        (GEMMA, "<end_of_turn>"),
        (MISTRAL, "</s>"),
        (GLM, "<|user|>"),
        (PLAIN, None),
        (NO_ASSISTANT, None),
        (DEAF, None),
        ("{{ nonsense", None),
        (None, None),
    ],
)
def test_a_chat_template_says_what_ends_a_turn(template: str | None, end: str | None) -> None:
    made = tokenizer(template)
    found = turn_end(made)
    assert (None if found is None else made.convert_ids_to_tokens(found)) == end


def test_a_template_that_demands_a_system_message_has_an_end_of_turn() -> None:
    strict = "{% if messages[0].role != 'system' %}{{ raise_exception('no system') }}{% endif %}"
    made = tokenizer(strict + CHATML)
    end = made.convert_tokens_to_ids("<|im_end|>")
    assert turn_end(made) == end
    named = DataConfig(chat=True, system_prompt="Be brief.")
    assert chat_ends([prompt()], named, made, model()) == [end]


def test_a_turn_ends_an_answer_where_prompts_are_chats() -> None:
    made, chat = tokenizer(CHATML), [{"role": "user", "content": "Hello"}]
    end = made.convert_tokens_to_ids("<|im_end|>")
    assert chat_ends([prompt()], DataConfig(), made, model()) == []
    assert chat_ends([prompt()], DataConfig(chat=True), made, model()) == [end]
    assert chat_ends([prompt(), prompt(chat)], DataConfig(), made, model()) == [end]
    own = DataConfig(chat=True, chat_template=GEMMA)
    assert chat_ends([], own, made, model()) == [made.convert_tokens_to_ids("<end_of_turn>")]
    # A model that lacks the token can never sample it.
    assert chat_ends([prompt(chat)], DataConfig(), made, model(rows=end)) == []


@pytest.mark.parametrize(
    ("eos", "ids"), [(None, ()), (5, (5,)), ([5, 6], (5, 6)), ([-1, 5, 4000], (5,)), ((7,), (7,))]
)
def test_the_generation_configs_ends(eos: Any, ids: tuple[int, ...]) -> None:
    made = tokenizer(None)
    assert stop_ids([], made, model(eos)) == tuple(sorted({made.eos_token_id, *ids}))


@pytest.mark.parametrize(
    ("eos", "stop", "made_of", "message"),
    [
        ("end", [], "<|endoftext|>", "eos_token_id of generation_config.json must be token ids"),
        ([True], [], "<|endoftext|>", "must be token ids"),
        (None, [], "<never seen>", "end token <never seen> has the id .* name one that the model"),
        (None, [ROWS], "<|endoftext|>", r"rollout.stop: 40 has the id 40, .* from 0 to 39"),
        (None, [-1], "<|endoftext|>", r"rollout.stop: -1 has the id -1"),
        (None, [], None, "rollout.stop: the tokenizer names no end token"),
        ([4000], [], None, "rollout.stop: the tokenizer names no end token"),
    ],
)
def test_ends_that_can_never_come(eos: Any, stop: list, made_of: str | None, message: str) -> None:
    made = tokenizer(None, made_of)
    rows = 22 if made_of == "<never seen>" else ROWS
    with pytest.raises(UserError, match=message) as caught:
        stop_ids(stop, made, model(eos, rows))
    assert "\n" not in str(caught.value)


def test_a_prompt_beyond_the_models_vocabulary() -> None:
    made = tokenizer(None)
    made.add_tokens(["wombat"])
    token = made.convert_tokens_to_ids("wombat")
    require_vocabulary([prompt(ids=(1, token))], made, model(rows=token + 1))
    with pytest.raises(UserError, match=rf"too few for 'wombat' \(id {token}\) in the prompt"):
        require_vocabulary([prompt(), prompt("a wombat", (1, token))], made, model(rows=token))
    guided = dataclasses.replace(prompt(), guide=(1, token))  # in the gold answer alone
    with pytest.raises(UserError, match="too few for 'wombat'"):
        require_vocabulary([guided], made, model(rows=token))


def test_ids_beyond_the_tokenizer_decode_to_something() -> None:
    """Many models have more rows than their tokenizer has tokens."""
    made = tokenizer(None)
    hello = made.convert_tokens_to_ids("Hello")
    assert made.batch_decode([[hello, 39], [38, 39]], skip_special_tokens=True)[0] == "Hello"
