"""What the prose directly before a block calls it."""

from __future__ import annotations

import re

NOUN = (
    r"(?:code|version|function|implementation|approach|solution|program|one|way|attempt|snippet"
    r"|variant|example|answer|usage)s?"
)
WRONG = r"(?:incorrect|wrong|buggy|broken|faulty|erroneous|bad|flawed)"
MARKUP = r"[\W_\d]*(?:(?:note|example|warning|caution)\W+)?(?:(?:an?|the|some|one) )?"
# "Incorrect:", "**Wrong way**", "### Before (buggy)", "Avoid this:": a line that is nothing else.
# "Wrong!" and "Incorrect." are said of what stands above.
LABEL = re.compile(
    rf"{MARKUP}(?:{WRONG}(?: {NOUN})?(?: \([^()]{{0,60}}\))?"
    rf"|(?:{NOUN}|before) \((?:the )?(?:{WRONG}|not (?:correct|right|working))(?: {NOUN})?\)"
    r"|before(?: the fix)?"
    r"|(?:please )?(?:avoid|(?:do not|don['’]?t|never) (?:do|write|use|try)|not)"
    rf" (?:like )?(?:this|that|the following)(?: {NOUN})?"
    r"|(?:how|what) not to do(?: it)?"
    r"|错误的?(?:示例|写法|代码|做法|版本|示范)|(?:不要|请勿)这样[做写])[^\w.!?。！？]*_*",
    re.IGNORECASE,
)
SIGN = re.compile(r"[^\w\s]")
"""Of markup, or a colon: without one a line is a word of a sentence."""
# "**Common mistake:** forgetting the last one", "The following would be incorrect:".
MISTAKE = re.compile(
    rf"{MARKUP}(?:common|typical|frequent|classic|usual) (?:{WRONG} {NOUN}|mistake|error|pitfall"
    rf"|bug)s?\b|{MARKUP}(?:mistake|pitfall|anti-?pattern)[*_ ]*[:：]|[\W_\d]*常见的?(?:错误|误区)",
    re.IGNORECASE,
)
FOLLOWING = re.compile(
    rf"\b(?:following|below)(?: {NOUN})? (?:(?:is|are|would be|will be) (?:(?!no|never)\w+ )?"
    rf"(?:{WRONG}|a (?:common )?mistake|an error)|(?:does|will|would)(?:n['’]t| not) work)\b"
    r"[\W_]*\Z",
    re.IGNORECASE,
)
MENDED = re.compile(
    r"\b(?:fix\w*|correct(?:s|ed|ly|ion)?|right|instead|final\w*|mend\w*|solv\w*|solution|better"
    r"|avoid(?:s|ed|ing| (?:it|this|that|them|these))|improv\w*|revis\w*|updat\w*|handl\w*|remov\w*"
    r"|address\w*|resolv\w*|repair\w*|above|earlier|previous\w*|i|we|my|our|was|were|had|made|here"
    r"|use|now|after|then)\b|正确|修正|改正|修复|避免|上面",
    re.IGNORECASE,
)
"""Words of one who has done better, or looks back: the block below is no mistake."""
VERSION = re.compile(
    r"[\W_\d]*(?:(?:so|and|now|thus|here(?:['’]s| is)|the|an?|my|or|even|this is)[ ,:]+)*"
    r"(?:final|simplified|simpler|shorter|shortened|cleaner|corrected|fixed|improved|revised|updated"
    rf"|optimi[sz]ed|better|complete|full|refactored)(?: {NOUN})?[\W_]*",
    re.IGNORECASE,
)
NEXT = re.compile(rf"[#*_]|.*\b(?:{NOUN}|python)\b", re.IGNORECASE)
"""A line that begins something else, or names what stands below it by itself."""
LOOKED_AT = 400
"""Characters before a block that are looked at."""


def is_called_wrong(before: str, code: str) -> bool:
    """Whether the lines before a block, the last two, or its first comment call it a mistake: it,
    and not what stands above them."""
    comment = code.lstrip()[:LOOKED_AT].partition("\n")[0]
    lines = _last_lines(before)
    looked_at = (lines[-1:], lines[-2:], [comment] if comment.startswith("#") else [])
    return any(map(_calls_wrong, looked_at))


def is_called_version(before: str) -> bool:
    """Whether the line before a block says that it is a whole one: "Simplified:"."""
    return any(map(VERSION.fullmatch, _last_lines(before)[-1:]))


def _last_lines(before: str) -> list[str]:
    lines = before[-LOOKED_AT:].split("\n")
    return [line.strip() for line in lines if line.strip()]


def _calls_wrong(lines: list[str]) -> bool:
    """Whether the first of lines does, and nothing takes it back."""
    if not lines:
        return False
    label, *more = lines
    if any(NEXT.match(line) or MENDED.search(line) for line in more):
        return False
    if LABEL.fullmatch(label):
        return SIGN.search(label) is not None
    mistaken = MISTAKE.match(label) or FOLLOWING.search(label)
    return mistaken is not None and not MENDED.search(label)
