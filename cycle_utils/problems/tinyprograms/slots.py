"""The slots: the choices that a program leaves, with the code of each value and the ways to say it."""

from __future__ import annotations

from dataclasses import dataclass

MODE = 0.4  # prior probability of a slot's first value, its most common reading; the others share the rest


@dataclass(frozen=True)
class Value:
    """One filling of a slot: its code and the ways to say it."""

    code: str
    phrases: tuple[str, ...]


@dataclass(frozen=True)
class Slot:
    """A choice inside a program.

    Attributes:
        name: the placeholder's name in the family's templates.
        evidence: how execution betrays the value: ``named`` (an exception or the failing input names it),
            ``legible`` (it can be read off the expected value), ``arithmetic`` (it must be calculated).
        open: phrases that fit every value.
        values: what it can be; the first has probability :data:`MODE`.
    """

    name: str
    evidence: str
    open: tuple[str, ...]
    values: tuple[Value, ...]


def prior(slot: Slot) -> list[float]:
    """Probability of each value: :data:`MODE` for the first, the rest shared equally."""
    rest = len(slot.values) - 1
    return [MODE] + [(1 - MODE) / rest] * rest


def _values(*pairs: tuple[str, str]) -> tuple[Value, ...]:
    """Values from ``(code, "phrase | other phrase")``."""
    return tuple(Value(code, tuple(p.strip() for p in said.split("|"))) for code, said in pairs)


def new_slot(name: str, evidence: str, open_: str, *pairs: tuple[str, str]) -> Slot:
    return Slot(name, evidence, tuple(p.strip() for p in open_.split("|")), _values(*pairs))


KEEP = new_slot(
    "keep", "legible", "wanted numbers | chosen numbers",
    ("$x % 2 == 0", "even numbers | multiples of two"),
    ("$x % 2 == 1", "odd numbers | numbers that are odd"),
    ("$x > 0", "positive numbers | numbers above zero"),
    ("$x < 0", "negative numbers | numbers below zero"),
    ("$x > 9", "large numbers, above nine | numbers above nine"),
    ("$x < 5", "small numbers, below five | numbers below five"),
)  # fmt: skip
DIGITS_KEPT = new_slot(
    "keep", "legible", "wanted digits | chosen digits",
    ("$x % 2 == 0", "even digits | multiples of two"),
    ("$x % 2 == 1", "odd digits | digits that are odd"),
    ("$x > 4", "large digits, above four | digits above four"),
    ("$x < 5", "small digits, below five | digits below five"),
    ("$x % 3 == 0", "multiples of three | digits divisible by three"),
)  # fmt: skip
CHANGE = new_slot(
    "change", "arithmetic", "changed | adjusted",
    ("$x * 2", "doubled | times two"),
    ("$x + 1", "plus one | increased by one"),
    ("$x * $x", "squared | times itself"),
    ("-$x", "negated | with the sign flipped"),
    ("$x * 10", "times ten | multiplied by ten"),
    ("$x - 3", "minus three | decreased by three"),
)  # fmt: skip
ORDER = new_slot(
    "order", "legible", "arranged | put in order",
    ("sorted($out)", "in ascending order | from small to large"),
    ("sorted($out, reverse=True)", "in descending order | from large to small"),
    ("$out[::-1]", "in reverse order | from last to first"),
    ("sorted(set($out))", "sorted without repeats | ascending and distinct"),
    ("list($out)", "in the given order | in the same order"),
)  # fmt: skip
SUMMARY = new_slot(
    "summary", "arithmetic", "summary | overall figure",
    ("sum($out)", "sum | total"),
    ("max($out)", "maximum | largest"),
    ("min($out)", "minimum | smallest"),
    ("len($out)", "count | number"),
    ("$out[0]", "first | first one"),
    ("$out[-1]", "last | last one"),
)  # fmt: skip
EMPTY = new_slot(
    "empty", "legible", "a fallback | a default",
    ("0", "0 | zero"),
    ("None", "None | nothing"),
    ("-1", "-1 | minus one"),
    ("''", "'' | an empty string"),
    ("99", "99 | ninety-nine"),
    ("[]", "[] | an empty list"),
)  # fmt: skip
SEP = new_slot(
    "sep", "legible", "a separator | a mark between them",
    ("', '", "commas | a comma and a space"),
    ("'-'", "dashes | a dash"),
    ("'/'", "slashes | a slash"),
    ("' '", "spaces | a space"),
    ("'|'", "bars | a bar"),
    ("'+'", "plus signs | a plus sign"),
    ("':'", "colons | a colon"),
)  # fmt: skip
CASE = new_slot(
    "case", "legible", "styled | formatted",
    ("$w.upper()", "in upper case | in capitals"),
    ("$w.lower()", "in lower case | in small letters"),
    ("$w.title()", "in title case | capitalized"),
    ("$w[::-1]", "backwards | reversed"),
    ("$w[0]", "by first letter | shortened to the first letter"),
    ("$w + '!'", "with an exclamation mark | followed by '!'"),
)  # fmt: skip
WRAP = new_slot(
    "wrap", "legible", "enclosed | put between marks",
    ("'(' + $w + ')'", "in parentheses | in round brackets"),
    ("'[' + $w + ']'", "in square brackets | in brackets"),
    ("'<' + $w + '>'", "in angle brackets | between < and >"),
    ("'{' + $w + '}'", "in braces | in curly brackets"),
    ("'*' + $w + '*'", "in stars | between stars"),
    ("'_' + $w + '_'", "in underscores | between underscores"),
)  # fmt: skip
ARRANGE = new_slot(
    "order", "legible", "arranged | put in order",
    ("sorted($words)", "in alphabetical order | from a to z"),
    ("sorted($words, key=len)", "by length | from short to long"),
    ("$words[::-1]", "in reverse order | from last to first"),
    ("sorted($words, reverse=True)", "in reverse alphabetical order | from z to a"),
    ("list($words)", "in the given order | in the same order"),
)  # fmt: skip
WORDS_KEPT = new_slot(
    "kept", "legible", "wanted words | chosen words",
    ("len($w) > 3", "words longer than three letters | long words, above three letters"),
    ("len($w) < 5", "words shorter than five letters | short words, below five letters"),
    ("$w[0] in 'aeiou'", "words that start with a vowel | words with a leading vowel"),
    ("$w[0] > 'm'", "words that start after m | words in the second half of the alphabet"),
    ("'e' in $w", "words that contain an e | words with an e"),
    ("'a' not in $w", "words without an a | words that have no a"),
)  # fmt: skip
AMOUNT = new_slot(
    "key", "named", "amount | figure",
    ("'price'", "price | 'price' field"),
    ("'cost'", "cost | 'cost' field"),
    ("'total'", "total | 'total' field"),
    ("'score'", "score | 'score' field"),
    ("'size'", "size | 'size' field"),
    ("'age'", "age | 'age' field"),
    ("'rank'", "rank | 'rank' field"),
    ("'weight'", "weight | 'weight' field"),
)  # fmt: skip
LABEL = new_slot(
    "key", "named", "label text | identifier",
    ("'name'", "name | 'name' field"),
    ("'title'", "title | 'title' field"),
    ("'city'", "city | 'city' field"),
    ("'kind'", "kind | 'kind' field"),
    ("'color'", "color | 'color' field"),
    ("'team'", "team | 'team' field"),
    ("'brand'", "brand | 'brand' field"),
    ("'owner'", "owner | 'owner' field"),
)  # fmt: skip
TRAIT = new_slot(
    "trait", "legible", "a feature | a property",
    ("$w[0]", "first letter | initial letter"),
    ("len($w)", "length | number of letters"),
    ("$w[-1]", "last letter | final letter"),
    ("$w.upper()", "upper-case form | capitals"),
    ("$w[:2]", "first two letters | two-letter prefix"),
)  # fmt: skip
START = new_slot(
    "start", "legible", "numbered | with a running number",
    ("1", "numbered from 1 | counted from one"),
    ("0", "numbered from 0 | counted from zero"),
    ("10", "numbered from 10 | counted from ten"),
    ("5", "numbered from 5 | counted from five"),
    ("100", "numbered from 100 | counted from one hundred"),
)  # fmt: skip
PAIR_TEST = new_slot(
    "test", "legible", "matching pairs | wanted pairs",
    ("$x < $y", "rising pairs | pairs that go up"),
    ("$x > $y", "falling pairs | pairs that go down"),
    ("$x == $y", "equal pairs | pairs of equals"),
    ("($x + $y) % 2 == 0", "pairs with an even sum | even-sum pairs"),
    ("$x + $y > 9", "pairs with a sum above nine | large-sum pairs"),
)  # fmt: skip
PAIR_VALUE = new_slot(
    "value", "arithmetic", "result | outcome",
    ("$x + $y", "sum | total"),
    ("$x * $y", "product | multiplied values"),
    ("($x, $y)", "tuple | pair itself"),
    ("max($x, $y)", "larger number | maximum"),
    ("$y - $x", "difference | second minus first"),
)  # fmt: skip
CHARS = new_slot(
    "chars", "legible", "wanted letters | chosen letters",
    ("$ch in 'aeiou'", "vowels | letters that are vowels"),
    ("$ch not in 'aeiou'", "consonants | letters that are no vowels"),
    ("$ch < 'm'", "letters before m | letters of the first half"),
    ("$ch > 'm'", "letters after m | letters of the second half"),
    ("$ch != 'a'", "letters other than a | letters but a"),
)  # fmt: skip
RUNNING = new_slot(
    "running", "arithmetic", "running figures | figures so far",
    ("$acc + $x", "running totals | sums so far"),
    ("max($acc, $x)", "running maxima | largest so far"),
    ("$acc - $x", "running differences | what is left so far"),
    ("min($acc, $x)", "running minima | smallest so far"),
    ("$acc * 2 + $x", "doubled running totals | twice the last plus each"),
)  # fmt: skip
CALL = new_slot(
    "call", "named", "the callback | the given function",
    ("$fn($x)", "the callback of each number | the callback of one number"),
    ("$fn($i, $x)", "the callback of index and number | the callback of position and number"),
    ("$fn($x, $i, $xs)", "the callback of number, index and list | the callback of number, position and list"),
    ("$fn()", "the callback without arguments | the callback of nothing"),
)  # fmt: skip
CLASH = new_slot(
    "clash", "arithmetic", "resolved | merged",
    ("$a[$k] + $b[$k]", "added up | summed"),
    ("$a[$k]", "taken from the first | kept as in the first"),
    ("$b[$k]", "taken from the second | replaced by the second"),
    ("max($a[$k], $b[$k])", "set to the larger | given the maximum"),
    ("$a[$k] * $b[$k]", "multiplied | set to the product"),
    ("[$a[$k], $b[$k]]", "listed | put in a list"),
)  # fmt: skip
SIZE = new_slot(
    "size", "legible", "a few | some",
    ("2", "two | 2"),
    ("3", "three | 3"),
    ("4", "four | 4"),
    ("5", "five | 5"),
)  # fmt: skip
FILL = new_slot(
    "fill", "legible", "a constant | a filler",
    ("0", "0 | zero"),
    ("None", "None | nothing"),
    ("-1", "-1 | minus one"),
    ("100", "100 | one hundred"),
    ("'x'", "'x' | the letter x"),
    ("True", "True | the truth value True"),
)  # fmt: skip
