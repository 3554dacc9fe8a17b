"""Rows from files, prompts from rows, and every way in which either can be wrong."""

import gzip
import json
import re
import subprocess
import sys

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from evenflow import data
from evenflow.data import build_prompts, load_rows, question_order, with_truth
from evenflow.errors import UserError
from evenflow.installation import how_to_install

TEMPLATE = (
    "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% if brief %} brief{% endif %}{% endif %}"
)
VOCABULARY = "<unk> <s> </s> <sep> [ ] user system assistant brief hello there be kind Q : A a b"
WORDS = VOCABULARY.split()
ROWS = [{"prompt": "hello there", "answer": "a"}, {"prompt": "be kind", "answer": "b"}]


def make_tokenizer(template=TEMPLATE, single="<s> $A"):
    """One token a word or mark; opens a text with <s>, as Llama's does."""
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture
def tokenizer():
    return make_tokenizer()


def ids(text):
    return tuple(WORDS.index(word) for word in text.split())


def build(rows, tokenizer, **settings):
    return build_prompts(rows, tokenizer, **({"max_prompt_length": 100} | settings))


# --- sources --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["q.jsonl", "q.jsonl.gz", "q.json", "q.json.gz", "q.parquet"])
def test_every_file_format_gives_the_same_rows(tmp_path, name):
    rows = [
        {"prompt": "2 + 2?\u2028", "n": 4},
        {"prompt": [{"role": "user", "content": "é"}], "n": 5},
    ]
    if name == "q.parquet":
        pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        rows[0]["prompt"] = [{"role": "user", "content": "2 + 2?"}]  # a column has one type
        parquet.write_table(pa.Table.from_pylist(rows), tmp_path / name)
    else:
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        text = "\n\n".join(lines) + "\n" if "jsonl" in name else "[" + ",".join(lines) + "]"
        raw = text.encode()
        (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    assert load_rows(str(tmp_path / name)) == rows


@pytest.mark.parametrize("name", ["my.jsonl.json", "my.jsonl.json.gz", "a.jsonl.b.json"])
def test_the_end_of_a_name_tells_how_a_file_is_read(tmp_path, name):
    raw = b'[{"prompt": "a"}]'
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    assert load_rows(str(tmp_path / name)) == [{"prompt": "a"}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "q.jsonl",
            '{"prompt": "a"}\n\n{"prompt": \n',
            r"q\.jsonl, line 3: is not JSON \(column \d+\)",
        ),
        ("q.jsonl", '{"prompt": "a"}\n["b"]\n', r"line 2: is list, not an object with fields"),
        ("q.json", '[{"prompt": "a"},\n {]', r"q\.json: is not JSON \(line 2, column \d+\)"),
        ("q.json", '{"prompt": "a"}', "must hold a JSON list of rows"),
        ("q.json", '[{"prompt": "a"}, 3]', "row 2: is int, not an object with fields"),
        ("q.jsonl", "\n", "have no rows"),
        ("q.jsonl", b"\xff\xfe\x00", "q.jsonl, line 1: is not UTF-8 text"),
        ("q.jsonl.gz", "not packed", "q.jsonl.gz: cannot be read: Not a gzipped"),
        ("q.jsonl.gz", gzip.compress(b"{}", mtime=0)[:-9], "q.jsonl.gz: cannot be read: "),
        ("q.parquet", "not parquet", "cannot read .*q.parquet as Parquet"),
        ("q.csv", "prompt\na\n", r"cannot tell how to read .*ends in \.json"),
    ],
)
def test_unreadable_sources_say_where(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message):
        load_rows(str(path))


@pytest.mark.parametrize("name", ["none.jsonl", "none.parquet"])
def test_missing_file(tmp_path, name):
    with pytest.raises(UserError, match=f"there is no file .*{name}"):
        load_rows(str(tmp_path / name))


def test_a_pattern_is_several_files_in_order(tmp_path):
    for number in (2, 0, 1):
        (tmp_path / f"part-{number}.jsonl").write_text(f'{{"prompt": "{number}"}}\n')
    pattern = str(tmp_path / "part-*.jsonl")
    assert [row["prompt"] for row in load_rows(pattern)] == ["0", "1", "2"]
    with pytest.raises(UserError, match=r"there is no file .*none-"):
        load_rows(str(tmp_path / "none-*.jsonl"))
    (tmp_path / "part-3.jsonl").write_text("{")
    with pytest.raises(UserError, match=r"part-3\.jsonl, line 1"):
        load_rows(pattern)


@pytest.mark.parametrize(
    ("ability", "own", "column", "value"),
    [
        ("MATH", {}, "answer", "42"),
        (None, {}, "answer", "42"),
        ("code", {}, "tests", "42"),
        ("MATH", {"answer": "41"}, "answer", "41"),
        ("code", {"tests": "41"}, "tests", "41"),
    ],
)
def test_rows_of_verls_form_bring_their_answer(tmp_path, ability, own, column, value):
    truth = {"ground_truth": "42", "style": "rule"}
    row = {"prompt": "q", "ability": ability, "reward_model": truth, **own}
    (tmp_path / "q.jsonl").write_text(json.dumps(row))
    (found,) = load_rows(str(tmp_path / "q.jsonl"))
    assert found == row | {column: value}
    (tmp_path / "q.jsonl").write_text(json.dumps({"prompt": "q", "reward_model": "large"}))
    assert load_rows(str(tmp_path / "q.jsonl")) == [{"prompt": "q", "reward_model": "large"}]


def test_hub_names_go_to_datasets(monkeypatch):
    asked = []

    def load_dataset(name, config, split):
        asked.append((name, config, split))
        return iter(ROWS)

    monkeypatch.setitem(sys.modules, "datasets", type(sys)("datasets"))
    monkeypatch.setattr(sys.modules["datasets"], "load_dataset", load_dataset, raising=False)
    assert load_rows("openai/gsm8k:main", "test") == ROWS
    assert load_rows("org/name") == ROWS
    assert asked == [("openai/gsm8k", "main", "test"), ("org/name", None, "train")]


def test_a_failing_hub_says_what_was_tried(monkeypatch):
    def load_dataset(*_, **__):
        raise ConnectionError("no network\nlong story")

    monkeypatch.setitem(sys.modules, "datasets", type(sys)("datasets"))
    monkeypatch.setattr(sys.modules["datasets"], "load_dataset", load_dataset, raising=False)
    with pytest.raises(UserError, match=r"'data/train' is no file here.*split test.*no network$"):
        load_rows("data/train", "test")


@pytest.mark.parametrize("source", ["org/name", "q.parquet"])
def test_missing_packages_name_the_extra(monkeypatch, source):
    for package in ("datasets", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=re.escape(how_to_install("data"))):
        load_rows(source)


# --- prompts --------------------------------------------------------------------------------


def test_plain_text_is_encoded_by_the_tokenizers_own_default(tokenizer):
    first, second = build(ROWS, tokenizer)
    assert first.text == "hello there"
    assert first.ids == ids("<s> hello there")
    assert first.columns == {"answer": "a"}
    assert second.ids == ids("<s> be kind")


def test_an_end_token_that_the_tokenizer_appends_is_taken_off():
    tokenizer = make_tokenizer(single="<s> $A </s>")
    assert build(ROWS, tokenizer)[0].ids == ids("<s> hello there")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("<s> hello there", "<s> hello there"),
        ("<s>hello there", "<s> hello there"),
        ("<s> <s> hello", "<s> <s> hello"),  # one is the tokenizer's, and two the text's own
        ("hello <s> there", "<s> hello <s> there"),
        ("hello there", "<s> hello there"),
    ],
)
@pytest.mark.parametrize("single", ["<s> $A", "<s> $A </s>"])
def test_text_that_brings_its_begin_token_gets_no_second_one(text, wanted, single):
    tokenizer = make_tokenizer(single=single)
    (prompt,) = build([{"prompt": text}], tokenizer)
    assert prompt.ids == ids(wanted)
    (prompt,) = build([{"x": "hello"}], tokenizer, prompt_column="x", prompt_template="<s>{x} a")
    assert prompt.ids == ids("<s> hello a")


def test_a_begin_token_stays_where_the_tokenizer_adds_none():
    (prompt,) = build([{"prompt": "<s> <s> hello"}], make_tokenizer(single="$A"))
    assert prompt.ids in (ids("<s> <s> hello"), ids("<s> hello"))
    tokenizer = make_tokenizer(single="$A")
    tokenizer.bos_token = None
    (prompt,) = build([{"prompt": "hello"}], tokenizer)
    assert prompt.ids == ids("hello")


@pytest.mark.parametrize("chat", [False, True])
def test_a_prompt_without_a_token(chat):
    tokenizer = make_tokenizer(single="$A", template="{{ '' }}")
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("mute", "")
    with pytest.raises(UserError, match="row 1: no token is left of the prompt"):
        build([{"prompt": "mute"}], tokenizer, chat=chat)


def test_prompt_template_and_column(tokenizer):
    rows = [{"question": "be kind", "answer": "b"}]
    settings = {"prompt_column": "question", "prompt_template": "Q: {question} A:"}
    (prompt,) = build(rows, tokenizer, **settings)
    assert prompt.ids == ids("<s> Q : be kind A :")
    assert prompt.text == "be kind"


def test_messages_go_through_the_chat_template_once(tokenizer):
    """The template's own text decides about special tokens: no second <s>."""
    messages = [{"role": "user", "content": "hello"}]
    (prompt,) = build([{"prompt": messages}], tokenizer)
    assert prompt.text == messages
    assert prompt.ids == ids("[ user ] hello [ assistant ]")


def test_chat_wraps_text_with_system_prompt_template_and_arguments(tokenizer):
    (prompt, _) = build(
        ROWS,
        tokenizer,
        chat=True,
        system_prompt="be kind",
        prompt_template="Q: {prompt}",
        chat_template_kwargs={"brief": True},
    )
    expected = "[ system ] be kind [ user ] Q : hello there [ assistant ] brief"
    assert prompt.ids == ids(expected)
    assert prompt.text == "hello there"


GUIDE = {"guide_template": "{prompt} A: {answer}"}


def test_a_guide_stands_in_place_of_the_template_and_goes_through_the_chat(tokenizer):
    (plain, _) = build(ROWS, tokenizer, prompt_template="Q: {prompt}", separator_id=3, **GUIDE)
    assert plain.ids == ids("<s> Q : hello there <sep>")
    assert plain.guide == ids("<s> hello there A : a <sep>")
    (chat, _) = build(ROWS, tokenizer, chat=True, system_prompt="be kind", **GUIDE)
    assert chat.guide == ids("[ system ] be kind [ user ] hello there A : a [ assistant ]")
    assert chat.key == plain.key == build(ROWS, tokenizer)[0].key


def test_of_messages_a_guide_stands_for_the_last_one_of_the_user(tokenizer):
    said = ("user", "hello"), ("assistant", "b"), ("user", "there")
    messages = [{"role": role, "content": content} for role, content in said]
    (prompt,) = build([{"prompt": messages, "answer": "a"}], tokenizer, **GUIDE)
    before = "[ user ] hello [ assistant ] b [ user ] there"
    assert prompt.ids == ids(f"{before} [ assistant ]")
    assert prompt.guide == ids(f"{before} A : a [ assistant ]")
    assert prompt.text == messages


def test_a_gold_answer_is_shown_as_an_answer_to_the_same_question(tokenizer):
    prompts = build(ROWS, tokenizer, gold=lambda columns: columns["answer"], separator_id=3)
    assert prompts[0].guide == ids("<s> hello there a </s> <s> hello there <sep>")
    assert prompts[0].longest == 9
    assert build(ROWS, tokenizer)[0].guide == ()


def test_the_rows_own_system_message_wins(tokenizer):
    messages = [{"role": "system", "content": "hello"}, {"role": "user", "content": "a"}]
    (prompt,) = build([{"prompt": messages}], tokenizer, system_prompt="be kind")
    assert prompt.ids == ids("[ system ] hello [ user ] a [ assistant ]")


def test_a_started_answer_is_continued(tokenizer):
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "A"}]
    (prompt,) = build([{"prompt": messages}], tokenizer)
    assert prompt.ids == ids("[ user ] hello [ assistant ] A")


def test_a_given_chat_template_replaces_the_tokenizers():
    tokenizer = make_tokenizer(template=None)
    (prompt, _) = build(ROWS, tokenizer, chat=True, chat_template="{{ messages[0].content }} :")
    assert prompt.ids == ids("hello there :")


@pytest.mark.parametrize(
    ("template", "opened"),
    [
        ("{{ messages[0].content }} : <think>\n", "<think>"),
        ("{{ messages[0].content }} : <Think>", "<Think>"),
        ("{{ messages[0].content }} : <think>\n\n</think>\n\n", ""),
        ("{{ messages[0].content }} <think> :", ""),
        ("{{ messages[0].content }} : [THINK]", "[THINK]"),
        (TEMPLATE, ""),
    ],
)
@pytest.mark.parametrize("special", [False, True])
def test_a_thought_that_the_template_opens_is_known(template, opened, special):
    tokenizer = make_tokenizer(template)
    marks = ["<think>", "<Think>", "</think>", "[THINK]"]
    tokenizer.add_tokens(marks, special_tokens=special)
    prompts = build(ROWS, tokenizer, chat=True)
    assert [prompt.opened_thought for prompt in prompts] == [opened] * 2


def test_a_thought_in_a_message_that_is_continued_is_known(tokenizer):
    for said, opened in (("<think> A", "<think>"), ("<think> A </think> b", ""), ("A", "")):
        messages = [{"role": "user", "content": "b"}, {"role": "assistant", "content": said}]
        (prompt,) = build([{"prompt": messages}], tokenizer)
        assert prompt.opened_thought == opened
    tokenizer.add_tokens("<think>")
    (plain,) = build([{"prompt": "hello : <think>"}], tokenizer)
    (asked,) = build([{"prompt": "hello <think> there"}], tokenizer)
    assert (plain.opened_thought, asked.opened_thought) == ("<think>", "")


def test_separator_closes_every_prompt_and_counts(tokenizer):
    prompts = build(ROWS, tokenizer, separator_id=3, max_prompt_length=4)
    assert [p.ids[-1] for p in prompts] == [3, 3]
    with pytest.raises(UserError, match="row 1: the prompt has 4 tokens and the limit is 3"):
        build(ROWS, tokenizer, separator_id=3, max_prompt_length=3)


def test_keys_tell_questions_apart_and_last(tokenizer):
    rows = [
        *ROWS,
        {"prompt": "hello there", "answer": "b"},
        {"answer": "a", "prompt": "hello there"},
    ]
    keys = [p.key for p in build(rows, tokenizer)]
    assert len(set(keys)) == 3
    assert keys[0] == keys[3]
    # The key does not depend on how the prompt is dressed, so log Z outlives a change of template.
    assert build(ROWS, tokenizer, chat=True)[0].key == keys[0]


def test_long_prompts_can_be_dropped(tokenizer, caplog):
    rows = [*ROWS, {"prompt": "a b a b", "answer": ""}]
    assert len(build(rows, tokenizer, max_prompt_length=3, long_prompts="drop")) == 2
    assert "1 prompts longer than 3 tokens were dropped" in caplog.text


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (
            [{"question": "a", "answer": 1}],
            {},
            "row 1 has no column 'prompt', .*: question, answer$",
        ),
        ([*ROWS, {"prompt": " \n"}], {}, "row 3: the prompt in column 'prompt' is empty"),
        ([{"prompt": 7}], {}, "row 1: .* must be text or a list of chat messages, not int"),
        ([{"prompt": None}], {}, "must be text or a list of chat messages, not NoneType"),
        ([{"prompt": []}], {}, "row 1: the prompt in column 'prompt' is empty"),
        ([{"prompt": ["hello"]}], {}, "message 1 needs `role` and `content`"),
        (
            [{"prompt": [{"role": "user", "content": " "}]}],
            {},
            "the prompt in column 'prompt' is empty",
        ),
        (ROWS, {"max_prompt_length": 2}, "has 3 tokens and the limit is 2; raise data.max_prompt"),
        (ROWS, {"max_prompt_length": 2}, "or set data.long_prompts=drop"),
        (
            ROWS,
            {"max_prompt_length": 2, "long_prompts": "drop"},
            "no rows are left: 2 of 2 are",
        ),
        ([], {}, "no rows are left"),
        (
            ROWS,
            {"prompt_template": "{hint}"},
            "no column 'hint', .*prompt_template.*: prompt, answ",
        ),
        (ROWS, {"prompt_template": "{prompt"}, "prompt_template cannot be filled"),
        (ROWS, {"prompt_template": "{}"}, "prompt_template cannot be filled"),
        (ROWS, {"guide_template": "{hint}"}, "no column 'hint', which data.guide_template names"),
        (ROWS, {"guide_template": " "}, "data.guide_template: is empty"),
        (
            [{"prompt": [{"role": "system", "content": "a"}]}],
            {"guide_template": "{prompt}"},
            "row 1: has no message of the user's, which data.guide_template could stand for",
        ),
        (
            ROWS,
            {"max_prompt_length": 3, "guide_template": "{prompt} {answer}"},
            "row 1: the prompt with its gold answer has 4 tokens and the limit is 3",
        ),
        (ROWS, {"system_prompt": "be kind"}, "data.system_prompt needs chat messages"),
        (ROWS, {"chat": True, "chat_template": "{{ raise_exception('no') }}"}, "template failed"),
    ],
)
def test_bad_rows_and_settings(tokenizer, rows, settings, message):
    with pytest.raises(UserError, match=message):
        build(rows, tokenizer, **settings)


def test_chat_without_a_template():
    with pytest.raises(UserError, match="row 1 needs a chat template and the tokenizer has none"):
        build([{"prompt": [{"role": "user", "content": "a"}]}], make_tokenizer(template=None))


# --- order ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "per_step"), [(10, 5), (10, 3), (4, 9), (1, 2)])
def test_every_epoch_holds_every_question_once(count, per_step):
    chain = [
        i for step in range(3 * count) for i in question_order(count, 7, step * per_step, per_step)
    ]
    epochs = [chain[at : at + count] for at in range(0, len(chain) - count + 1, count)]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    if count == 10:
        assert epochs[0] != epochs[1]


def test_order_depends_on_seed_and_step_alone():
    later = question_order(50, 3, 96, 8)
    data._permutation.cache_clear()
    assert question_order(50, 3, 96, 8) == later
    assert question_order(50, 4, 96, 8) != later


def test_order_is_the_same_in_another_process():
    code = "from evenflow.data import question_order as q; print(q(50, 3, 96, 8))"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(run.stdout) == question_order(50, 3, 96, 8)


@pytest.mark.parametrize("template", ["my_template.jinja", "{{ messages[0].role }}"])
def test_a_given_chat_template_shows_the_question(template: str):
    with pytest.raises(UserError, match=r"data\.chat_template: shows nothing of the last message"):
        build(ROWS, make_tokenizer(template=None), chat=True, chat_template=template)


def test_columns_with_keys_of_several_types_have_a_key():
    rows = [{**ROWS[0], "tags": {1: "a", "b": "c"}}, {**ROWS[0], "tags": {1: "a", "b": "d"}}]
    first, second = build(rows, make_tokenizer(template=None))
    assert first.key != second.key


def test_the_truth_of_verls_form_counts_where_the_column_is_empty() -> None:
    truth = {"reward_model": {"ground_truth": "2"}}
    assert with_truth({"answer": None, **truth})["answer"] == "2"
    assert with_truth({"answer": "3", **truth})["answer"] == "3"
    assert with_truth({"ability": "code", **truth})["tests"] == "2"
