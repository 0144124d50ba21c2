"""TinyPrograms: a generated benchmark that a small code LM can fail, mend and be measured on.

A problem is a short Python function with a few *slots* (which numbers to keep, how to order them, which
separator to join by, ...). Its description names the value of a slot or leaves it **open** ("arranged" for
five orders): then only execution can tell, which is the situation that self-refinement exists for. The
share of open slots is the ``ambiguity``.

Because the generator's distribution is known (:func:`prior`), so is the best that any model can do: at the
first try (:func:`ceiling`, round 0) and after reading the feedback of failed tests (later rounds). Nothing
here is trained, downloaded or random beyond its seed.

The generator's own programs are trusted and run in this process; a model's programs never are.
"""

from __future__ import annotations

import ast
import hashlib
import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from string import Template
from types import CodeType
from typing import Any

from cycle_utils.problems import Problem

SPLITS = ("train", "validation", "test")
AMBIGUITY = 0.4  # default probability that a slot is left open
MODE = 0.4  # prior probability of a slot's first value, its most common reading; the others share the rest
PUBLIC, HIDDEN = 4, 8  # tests of each kind per problem


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


@dataclass(frozen=True)
class Family:
    """Programs of one shape: templates in which ``$name`` stands for a slot or for an identifier."""

    name: str
    functions: tuple[str, ...]
    arguments: tuple[str, ...]
    descriptions: tuple[str, ...]
    bodies: tuple[str, ...]
    slots: tuple[Slot, ...]
    inputs: str  # how arguments are drawn (see _arguments)


@dataclass(frozen=True)
class Task:
    """A family with every choice made: the draw behind one problem."""

    family: Family
    values: Mapping[str, int]  # slot -> index of its value
    open: frozenset[str]  # slots that the description leaves open
    names: Mapping[str, str]  # placeholder -> identifier
    description: str


def _values(*pairs: tuple[str, str]) -> tuple[Value, ...]:
    """Values from ``(code, "phrase | other phrase")``."""
    return tuple(Value(code, tuple(p.strip() for p in said.split("|"))) for code, said in pairs)


def _slot(name: str, evidence: str, open_: str, *pairs: tuple[str, str]) -> Slot:
    return Slot(name, evidence, tuple(p.strip() for p in open_.split("|")), _values(*pairs))


# --- the slots -------------------------------------------------------------------------------------------

KEEP = _slot(
    "keep", "legible", "wanted numbers | chosen numbers",
    ("$x % 2 == 0", "even numbers | multiples of two"),
    ("$x % 2 == 1", "odd numbers | numbers that are odd"),
    ("$x > 0", "positive numbers | numbers above zero"),
    ("$x < 0", "negative numbers | numbers below zero"),
    ("$x > 9", "large numbers, above nine | numbers above nine"),
    ("$x < 5", "small numbers, below five | numbers below five"),
)  # fmt: skip
DIGITS_KEPT = _slot(
    "keep", "legible", "wanted digits | chosen digits",
    ("$x % 2 == 0", "even digits | multiples of two"),
    ("$x % 2 == 1", "odd digits | digits that are odd"),
    ("$x > 4", "large digits, above four | digits above four"),
    ("$x < 5", "small digits, below five | digits below five"),
    ("$x % 3 == 0", "multiples of three | digits divisible by three"),
)  # fmt: skip
CHANGE = _slot(
    "change", "arithmetic", "changed | adjusted",
    ("$x * 2", "doubled | times two"),
    ("$x + 1", "plus one | increased by one"),
    ("$x * $x", "squared | times itself"),
    ("-$x", "negated | with the sign flipped"),
    ("$x * 10", "times ten | multiplied by ten"),
    ("$x - 3", "minus three | decreased by three"),
)  # fmt: skip
ORDER = _slot(
    "order", "legible", "arranged | put in order",
    ("sorted($out)", "in ascending order | from small to large"),
    ("sorted($out, reverse=True)", "in descending order | from large to small"),
    ("$out[::-1]", "in reverse order | from last to first"),
    ("sorted(set($out))", "sorted without repeats | ascending and distinct"),
    ("list($out)", "in the given order | in the same order"),
)  # fmt: skip
SUMMARY = _slot(
    "summary", "arithmetic", "summary | overall figure",
    ("sum($out)", "sum | total"),
    ("max($out)", "maximum | largest"),
    ("min($out)", "minimum | smallest"),
    ("len($out)", "count | number"),
    ("$out[0]", "first | first one"),
    ("$out[-1]", "last | last one"),
)  # fmt: skip
EMPTY = _slot(
    "empty", "legible", "a fallback | a default",
    ("0", "0 | zero"),
    ("None", "None | nothing"),
    ("-1", "-1 | minus one"),
    ("''", "'' | an empty string"),
    ("99", "99 | ninety-nine"),
    ("[]", "[] | an empty list"),
)  # fmt: skip
SEP = _slot(
    "sep", "legible", "a separator | a mark between them",
    ("', '", "commas | a comma and a space"),
    ("'-'", "dashes | a dash"),
    ("'/'", "slashes | a slash"),
    ("' '", "spaces | a space"),
    ("'|'", "bars | a bar"),
    ("'+'", "plus signs | a plus sign"),
    ("':'", "colons | a colon"),
)  # fmt: skip
CASE = _slot(
    "case", "legible", "styled | formatted",
    ("$w.upper()", "in upper case | in capitals"),
    ("$w.lower()", "in lower case | in small letters"),
    ("$w.title()", "in title case | capitalized"),
    ("$w[::-1]", "backwards | reversed"),
    ("$w[0]", "by first letter | shortened to the first letter"),
    ("$w + '!'", "with an exclamation mark | followed by '!'"),
)  # fmt: skip
WRAP = _slot(
    "wrap", "legible", "enclosed | put between marks",
    ("'(' + $w + ')'", "in parentheses | in round brackets"),
    ("'[' + $w + ']'", "in square brackets | in brackets"),
    ("'<' + $w + '>'", "in angle brackets | between < and >"),
    ("'{' + $w + '}'", "in braces | in curly brackets"),
    ("'*' + $w + '*'", "in stars | between stars"),
    ("'_' + $w + '_'", "in underscores | between underscores"),
)  # fmt: skip
ARRANGE = _slot(
    "order", "legible", "arranged | put in order",
    ("sorted($words)", "in alphabetical order | from a to z"),
    ("sorted($words, key=len)", "by length | from short to long"),
    ("$words[::-1]", "in reverse order | from last to first"),
    ("sorted($words, reverse=True)", "in reverse alphabetical order | from z to a"),
    ("list($words)", "in the given order | in the same order"),
)  # fmt: skip
WORDS_KEPT = _slot(
    "kept", "legible", "wanted words | chosen words",
    ("len($w) > 3", "words longer than three letters | long words, above three letters"),
    ("len($w) < 5", "words shorter than five letters | short words, below five letters"),
    ("$w[0] in 'aeiou'", "words that start with a vowel | words with a leading vowel"),
    ("$w[0] > 'm'", "words that start after m | words in the second half of the alphabet"),
    ("'e' in $w", "words that contain an e | words with an e"),
    ("'a' not in $w", "words without an a | words that have no a"),
)  # fmt: skip
AMOUNT = _slot(
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
LABEL = _slot(
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
TRAIT = _slot(
    "trait", "legible", "a feature | a property",
    ("$w[0]", "first letter | initial letter"),
    ("len($w)", "length | number of letters"),
    ("$w[-1]", "last letter | final letter"),
    ("$w.upper()", "upper-case form | capitals"),
    ("$w[:2]", "first two letters | two-letter prefix"),
)  # fmt: skip
START = _slot(
    "start", "legible", "numbered | with a running number",
    ("1", "numbered from 1 | counted from one"),
    ("0", "numbered from 0 | counted from zero"),
    ("10", "numbered from 10 | counted from ten"),
    ("5", "numbered from 5 | counted from five"),
    ("100", "numbered from 100 | counted from one hundred"),
)  # fmt: skip
PAIR_TEST = _slot(
    "test", "legible", "matching pairs | wanted pairs",
    ("$x < $y", "rising pairs | pairs that go up"),
    ("$x > $y", "falling pairs | pairs that go down"),
    ("$x == $y", "equal pairs | pairs of equals"),
    ("($x + $y) % 2 == 0", "pairs with an even sum | even-sum pairs"),
    ("$x + $y > 9", "pairs with a sum above nine | large-sum pairs"),
)  # fmt: skip
PAIR_VALUE = _slot(
    "value", "arithmetic", "result | outcome",
    ("$x + $y", "sum | total"),
    ("$x * $y", "product | multiplied values"),
    ("($x, $y)", "tuple | pair itself"),
    ("max($x, $y)", "larger number | maximum"),
    ("$y - $x", "difference | second minus first"),
)  # fmt: skip
CHARS = _slot(
    "chars", "legible", "wanted letters | chosen letters",
    ("$ch in 'aeiou'", "vowels | letters that are vowels"),
    ("$ch not in 'aeiou'", "consonants | letters that are no vowels"),
    ("$ch < 'm'", "letters before m | letters of the first half"),
    ("$ch > 'm'", "letters after m | letters of the second half"),
    ("$ch != 'a'", "letters other than a | letters but a"),
)  # fmt: skip
RUNNING = _slot(
    "running", "arithmetic", "running figures | figures so far",
    ("$acc + $x", "running totals | sums so far"),
    ("max($acc, $x)", "running maxima | largest so far"),
    ("$acc - $x", "running differences | what is left so far"),
    ("min($acc, $x)", "running minima | smallest so far"),
    ("$acc * 2 + $x", "doubled running totals | twice the last plus each"),
)  # fmt: skip
CALL = _slot(
    "call", "named", "the callback | the given function",
    ("$fn($x)", "the callback of each number | the callback of one number"),
    ("$fn($i, $x)", "the callback of index and number | the callback of position and number"),
    ("$fn($x, $i, $xs)", "the callback of number, index and list | the callback of number, position and list"),
    ("$fn()", "the callback without arguments | the callback of nothing"),
)  # fmt: skip
CLASH = _slot(
    "clash", "arithmetic", "resolved | merged",
    ("$a[$k] + $b[$k]", "added up | summed"),
    ("$a[$k]", "taken from the first | kept as in the first"),
    ("$b[$k]", "taken from the second | replaced by the second"),
    ("max($a[$k], $b[$k])", "set to the larger | given the maximum"),
    ("$a[$k] * $b[$k]", "multiplied | set to the product"),
    ("[$a[$k], $b[$k]]", "listed | put in a list"),
)  # fmt: skip
SIZE = _slot(
    "size", "legible", "a few | some",
    ("2", "two | 2"),
    ("3", "three | 3"),
    ("4", "four | 4"),
    ("5", "five | 5"),
)  # fmt: skip
FILL = _slot(
    "fill", "legible", "a constant | a filler",
    ("0", "0 | zero"),
    ("None", "None | nothing"),
    ("-1", "-1 | minus one"),
    ("100", "100 | one hundred"),
    ("'x'", "'x' | the letter x"),
    ("True", "True | the truth value True"),
)  # fmt: skip

# --- the families ----------------------------------------------------------------------------------------

FAMILIES: tuple[Family, ...] = (
    Family(
        "keep_numbers", ("pick_numbers", "select", "filter_list", "gather"), ("xs",),
        ("Return the $keep of $xs, each $change, $order.",
         "Take the $keep in $xs. Return them $change and $order.",
         "From $xs keep the $keep, have each $change, and give them $order."),
        ("$out = [$change for $x in $xs if $keep]\nreturn $order",
         "$out = []\nfor $x in $xs:\n    if $keep:\n        $out.append($change)\nreturn $order"),
        (KEEP, CHANGE, ORDER), "numbers"),
    Family(
        "number_summary", ("summarize", "measure", "stat", "figure_of"), ("xs",),
        ("Return the $summary of the $keep in $xs, or $empty if there are none.",
         "Of the $keep in $xs give the $summary; return $empty when none is left.",
         "Find the $summary of all $keep of $xs. Without any, return $empty."),
        ("$out = [$x for $x in $xs if $keep]\nif not $out:\n    return $empty\nreturn $summary",
         "$out = []\nfor $x in $xs:\n    if $keep:\n        $out.append($x)\nreturn $summary if $out else $empty"),
        (KEEP, SUMMARY, EMPTY), "numbers_or_few"),
    Family(
        "join_words", ("join_words", "to_text", "write_line", "label"), ("words",),
        ("Return the $words $order, each $case, joined by $sep.",
         "Write $words $order with every word $case and $sep in between.",
         "Join $words by $sep after each is $case; they come $order."),
        ("$out = [$case for $w in $order]\nreturn $sep.join($out)",
         "$out = []\nfor $w in $order:\n    $out.append($case)\nreturn $sep.join($out)"),
        (ARRANGE, CASE, SEP), "words"),
    Family(
        "wrap_words", ("mark_words", "decorate", "tag_all", "frame"), ("words",),
        ("Return the $kept of $words, each $wrap, joined by $sep.",
         "Put each of the $kept in $words $wrap and join them by $sep.",
         "Take the $kept from $words; each goes $wrap, with $sep between."),
        ("$out = [$wrap for $w in $words if $kept]\nreturn $sep.join($out)",
         "$out = []\nfor $w in $words:\n    if $kept:\n        $out.append($wrap)\nreturn $sep.join($out)"),
        (WORDS_KEPT, WRAP, SEP), "words"),
    Family(
        "record_values", ("column", "pull", "read_rows", "extract"), ("rows",),
        ("Return the $key of each of $rows, $change, then $order.",
         "From every record in $rows take the $key, have it $change, and return all $order.",
         "Collect the $key of $rows, each $change; the list comes $order."),
        ("$out = []\nfor $row in $rows:\n    $x = $row[$key]\n    $out.append($change)\nreturn $order",
         "$out = [$row[$key] for $row in $rows]\n$out = [$change for $x in $out]\nreturn $order"),
        (AMOUNT, CHANGE, ORDER), "records"),
    Family(
        "record_labels", ("names_of", "list_rows", "show_rows", "headline"), ("rows",),
        ("Return the $key of each of $rows, $case, joined by $sep.",
         "Join the $key of all records in $rows by $sep, each $case.",
         "Write every $key found in $rows, each $case, with $sep in between."),
        ("$out = []\nfor $row in $rows:\n    $w = $row[$key]\n    $out.append($case)\nreturn $sep.join($out)",
         "$out = [$row[$key] for $row in $rows]\nreturn $sep.join($case for $w in $out)"),
        (LABEL, CASE, SEP), "labels"),
    Family(
        "record_summary", ("report", "audit", "total_of", "tally"), ("rows",),
        ("Return the $summary of the $key over the $rows, or $empty if there are none.",
         "Give the $summary of every $key in $rows; return $empty for no records.",
         "Over $rows find the $summary of the $key. Without records, return $empty."),
        ("if not $rows:\n    return $empty\n$out = [$row[$key] for $row in $rows]\nreturn $summary",
         "$out = []\nfor $row in $rows:\n    $out.append($row[$key])\nreturn $summary if $out else $empty"),
        (AMOUNT, SUMMARY, EMPTY), "records_or_none"),
    Family(
        "find_first", ("find", "search", "first_match", "look_up"), ("xs",),
        ("Return the first of the $keep in $xs, $change, or $empty.",
         "Go through $xs to the first of the $keep and return it $change; if there is none, $empty.",
         "Search $xs for $keep. Return the first one $change, else $empty."),
        ("for $x in $xs:\n    if $keep:\n        return $change\nreturn $empty",
         "$out = [$x for $x in $xs if $keep]\nfor $x in $out:\n    return $change\nreturn $empty"),
        (KEEP, CHANGE, EMPTY), "numbers_or_few"),
    Family(
        "count_words", ("count_by", "histogram", "frequencies", "census"), ("words",),
        ("Count the $kept of $words by $trait and return the dictionary.",
         "Return a dictionary that counts the $kept in $words for each $trait.",
         "For the $kept of $words, tell how many share $trait, as a dictionary."),
        ("$out = {}\nfor $w in $words:\n    if $kept:\n        $k = $trait\n"
         "        $out[$k] = $out.get($k, 0) + 1\nreturn $out",
         "$out = {}\nfor $w in $words:\n    if not ($kept):\n        continue\n"
         "    $k = $trait\n    if $k not in $out:\n        $out[$k] = 0\n    $out[$k] += 1\nreturn $out"),
        (WORDS_KEPT, TRAIT), "words"),
    Family(
        "group_words", ("group_by", "bucket", "index_words", "sort_into"), ("words",),
        ("Group $words by $trait, each word $case, in a dictionary of lists.",
         "Return a dictionary from $trait to the list of $words that have it, each $case.",
         "Put $words, $case, into lists by $trait and return the dictionary."),
        ("$out = {}\nfor $w in $words:\n    $k = $trait\n    if $k not in $out:\n        $out[$k] = []\n"
         "    $out[$k].append($case)\nreturn $out",
         "$out = {}\nfor $w in $words:\n    $out.setdefault($trait, []).append($case)\nreturn $out"),
        (TRAIT, CASE), "words"),
    Family(
        "number_lines", ("enumerate_words", "number_lines", "list_items", "index_lines"), ("words",),
        ("Return the $words $order, $start, with $sep after the number.",
         "List $words $order and $start; number and word are joined by $sep.",
         "Give each of $words $order as a string, $start, using $sep between number and word."),
        ("$out = []\nfor $i, $w in enumerate($order, $start):\n    $out.append(str($i) + $sep + $w)\nreturn $out",
         "$out = []\n$i = $start\nfor $w in $order:\n    $out.append(str($i) + $sep + $w)\n    $i += 1\nreturn $out"),
        (ARRANGE, START, SEP), "words"),
    Family(
        "pairs", ("pair_up", "compare_all", "couples", "combine"), ("xs",),
        ("Return the $value of the $test in $xs, $order.",
         "Go over all pairs of $xs. For the $test collect the $value and return them $order.",
         "From $xs take the $test and list the $value of each, $order."),
        ("$out = []\nfor $i in range(len($xs)):\n    for $j in range($i + 1, len($xs)):\n"
         "        $x, $y = $xs[$i], $xs[$j]\n        if $test:\n            $out.append($value)\nreturn $order",
         "$out = []\nfor $i, $x in enumerate($xs):\n    for $y in $xs[$i + 1:]:\n        if $test:\n"
         "            $out.append($value)\nreturn $order"),
        (PAIR_TEST, PAIR_VALUE, ORDER), "few_numbers"),
    Family(
        "matrix_rows", ("row_figures", "per_row", "reduce_rows", "matrix_stat"), ("grid",),
        ("Return the $summary of each row of $grid, each $change, $order.",
         "For every row in $grid take the $summary, have it $change, and return the list $order.",
         "Reduce each row of $grid to its $summary; the figures come $change and $order."),
        ("$res = []\nfor $out in $grid:\n    $x = $summary\n    $res.append($change)\n$out = $res\nreturn $order",
         "$res = [$summary for $out in $grid]\n$out = [$change for $x in $res]\nreturn $order"),
        (SUMMARY, CHANGE, ORDER), "matrix"),
    Family(
        "two_helpers", ("compose", "pipeline", "process", "run_steps"), ("xs",),
        ("With two helpers, keep the $keep of $xs and return each $change, $order.",
         "Write a helper that tells the $keep and one that gives a number $change; apply them to $xs, $order.",
         "Use helpers: from $xs the $keep, each $change. The result comes $order."),
        ("def $h1($x):\n    return $keep\n\ndef $h2($x):\n    return $change\n\n"
         "$out = [$h2($x) for $x in $xs if $h1($x)]\nreturn $order",
         "def $h1($x):\n    return $keep\n\ndef $h2($x):\n    return $change\n\n"
         "$out = list(map($h2, filter($h1, $xs)))\nreturn $order"),
        (KEEP, CHANGE, ORDER), "numbers"),
    Family(
        "scan_text", ("scan", "strip_text", "letters_of", "squeeze"), ("text",),
        ("Return the $chars of $text joined by $sep, or $empty if there are none.",
         "Pick the $chars out of $text and join them by $sep; return $empty when there is no such letter.",
         "From $text keep the $chars, with $sep in between; without any return $empty."),
        ("$out = []\nfor $ch in $text:\n    if $chars:\n        $out.append($ch)\n"
         "if not $out:\n    return $empty\nreturn $sep.join($out)",
         "$out = [$ch for $ch in $text if $chars]\nif len($out) == 0:\n    return $empty\nreturn $sep.join($out)"),
        (CHARS, SEP, EMPTY), "text"),
    Family(
        "running", ("accumulate", "running", "progress", "so_far"), ("xs",),
        ("Return the $running of $xs, beginning with $start0, $order.",
         "Go through $xs and list the $running, from $start0 on, $order.",
         "Start at $start0, collect the $running over $xs, and return them $order."),
        ("$acc = $start0\n$out = []\nfor $x in $xs:\n    $acc = $running\n    $out.append($acc)\nreturn $order",
         "$out = []\n$acc = $start0\nfor $i in range(len($xs)):\n    $x = $xs[$i]\n    $acc = $running\n"
         "    $out += [$acc]\nreturn $order"),
        (RUNNING,
         _slot("start0", "arithmetic", "a first value | an initial value",
               ("0", "0 | zero"), ("1", "1 | one"), ("10", "10 | ten"), ("5", "5 | five")),
         ORDER), "numbers"),
    Family(
        "callback", ("apply_all", "call_each", "map_with", "transform"), ("xs", "fn"),
        ("Call $call for the $keep in $xs; results come $order.",
         "Return the results of $call, using the $keep of $xs, $order.",
         "For the $keep in $xs collect $call and give the list $order."),
        ("$out = []\nfor $i, $x in enumerate($xs):\n    if $keep:\n        $out.append($call)\nreturn $order",
         "$out = [$call for $i, $x in enumerate($xs) if $keep]\nreturn $order"),
        (CALL, KEEP, ORDER), "callback"),
    Family(
        "merge_dicts", ("merge", "unite", "blend", "join_maps"), ("a", "b"),
        ("Merge the dictionaries $a and $b; keys in both are $clash, keys in one are set to $fill.",
         "Return one dictionary for $a and $b. Shared keys are $clash; others get $fill.",
         "Unite $a with $b: values of common keys are $clash, all other keys map to $fill."),
        ("$out = {}\nfor $k in sorted(set($a) | set($b)):\n    if $k in $a and $k in $b:\n"
         "        $out[$k] = $clash\n    else:\n        $out[$k] = $fill\nreturn $out",
         "$out = dict.fromkeys(list($a) + list($b), $fill)\nfor $k in $a:\n    if $k in $b:\n"
         "        $out[$k] = $clash\nreturn $out"),
        (CLASH, FILL), "dicts"),
    Family(
        "digits", ("digit_figure", "digits_of", "check_digits", "number_code"), ("num",),
        ("Return the $summary of the digits of $num that are $keep, or $empty.",
         "Among the digits of $num take the $keep and give their $summary; if none, $empty.",
         "Split $num into digits; of the $keep return the $summary, else $empty."),
        ("$out = []\nwhile $num > 0:\n    $x = $num % 10\n    if $keep:\n        $out.insert(0, $x)\n"
         "    $num //= 10\nif not $out:\n    return $empty\nreturn $summary",
         "$out = []\nfor $ch in str($num):\n    $x = int($ch)\n    if $keep:\n        $out.append($x)\n"
         "return $summary if $out else $empty"),
        (DIGITS_KEPT, SUMMARY, EMPTY), "integer"),
    Family(
        "chunks", ("chunked", "split_up", "blocks", "batches"), ("xs",),
        ("Split $xs into blocks of $size and return the $summary of each, $order.",
         "Cut $xs in parts of $size numbers. Return the $summary of every part, $order.",
         "For blocks of $size in $xs list the $summary, $order."),
        ("$res = []\nfor $i in range(0, len($xs), $size):\n    $out = $xs[$i:$i + $size]\n"
         "    $res.append($summary)\n$out = $res\nreturn $order",
         "$res = [$xs[$i:$i + $size] for $i in range(0, len($xs), $size)]\n"
         "$out = [$summary for $out in $res]\nreturn $order"),
        (SIZE, SUMMARY, ORDER), "many_numbers"),
    Family(
        "look_up", ("translate", "lookup_all", "decode", "resolve"), ("words", "table"),
        ("Look up each of $words in $table and return the values $order2; a missing word gives $fill.",
         "Return the entries of $table for $words, $fill where one is missing, $order2.",
         "Translate $words by $table, with $fill for unknown words; the list comes $order2."),
        ("$out = [$table.get($w, $fill) for $w in $words]\nreturn $order2",
         "$out = []\nfor $w in $words:\n    if $w in $table:\n        $out.append($table[$w])\n    else:\n"
         "        $out.append($fill)\nreturn $order2"),
        (FILL,
         _slot("order2", "legible", "arranged | put in order",
               ("$out[::-1]", "in reverse order | from last to first"),
               ("list($out)", "in the given order | in the same order"),
               ("$out[1:]", "without the first one | from the second on"),
               ("tuple($out)", "as a tuple | in a tuple"),
               ("$out + $out", "twice over | two times"))), "table"),
    Family(
        "replace", ("substitute", "mask_values", "patch", "overwrite"), ("xs",),
        ("Replace the $keep in $xs by $fill; the others are $change.",
         "Return $xs with $fill in place of the $keep and all others $change.",
         "In $xs put $fill for the $keep; every other number is $change."),
        ("$out = []\nfor $x in $xs:\n    if $keep:\n        $out.append($fill)\n    else:\n"
         "        $out.append($change)\nreturn $out",
         "$out = [$fill if $keep else $change for $x in $xs]\nreturn $out"),
        (KEEP, FILL, CHANGE), "numbers"),
)  # fmt: skip

# Identifiers for each placeholder; the pools are disjoint, so that no two placeholders ever share a name.
# The description shows those of the arguments. The local ones follow from the first argument's (the same
# place in the pool), as a team's habits would have it: a name that nothing betrays would be noise in every
# figure, and would make the right program differ from a faulty one in more than its mistake.
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "xs": ("numbers", "values", "nums", "data"), "words": ("words", "names", "items", "texts"),
    "rows": ("rows", "records", "entries", "lines"), "grid": ("grid", "matrix", "rows_of", "board"),
    "text": ("text", "line", "string", "phrase"), "fn": ("fn", "func", "callback", "action"),
    "a": ("a", "left", "first", "old"), "b": ("b", "right", "second", "new"),
    "num": ("number", "value", "integer", "code"), "table": ("lookup", "mapping", "codes", "table"),
}  # fmt: skip
LOCALS: dict[str, tuple[str, ...]] = {
    "x": ("x", "v", "n", "d"), "y": ("y", "u", "m", "e"), "out": ("out", "result", "found", "res"),
    "res": ("parts", "figures", "pieces", "sums"), "w": ("w", "name", "item", "t"),
    "row": ("row", "record", "entry", "r"), "ch": ("ch", "c", "letter", "char"), "i": ("i", "pos", "idx", "at"),
    "j": ("j", "later", "end", "to"), "k": ("key", "k", "mark", "tag"), "acc": ("acc", "state", "current", "last"),
    "h1": ("wanted", "accept", "check", "fits"), "h2": ("alter", "convert", "shift", "adapt"),
}  # fmt: skip

# --- inputs ----------------------------------------------------------------------------------------------

WORDS = (
    "ant", "apple", "bee", "bird", "boat", "cat", "clay", "cloud", "dog", "dust", "ear", "egg", "elm", "fig",
    "fish", "fox", "goat", "hen", "ice", "ink", "ivy", "jam", "kite", "lamp", "leaf", "mint", "moon", "nest",
    "oak", "owl", "pear", "pine", "rain", "rose", "sand", "snow", "star", "tree", "urn", "vine", "wolf", "yak",
)  # fmt: skip
_AMOUNTS = tuple(ast.literal_eval(v.code) for v in AMOUNT.values)
_LABELS = tuple(ast.literal_eval(v.code) for v in LABEL.values)


def _ints(rng: random.Random, low: int, high: int, count: tuple[int, int]) -> list[int]:
    return [rng.randint(low, high) for _ in range(rng.randint(*count))]


def _words(rng: random.Random, low: int, high: int) -> list[str]:
    return rng.sample(WORDS, rng.randint(low, high))


def _records(rng: random.Random, code: str, fillers: tuple[str, ...], draw, low: int) -> list[dict]:
    """Rows that hold the wanted key and one other field, in either order."""
    key = ast.literal_eval(code)
    other = rng.choice([f for f in fillers if f != key])
    rows = []
    for _ in range(rng.randint(low, 3)):
        fields = [(key, draw(rng)), (other, rng.choice(WORDS) if fillers is _LABELS else rng.randint(1, 19))]
        rng.shuffle(fields)
        rows.append(dict(fields))
    return rows


def _callback(rng: random.Random, code: str) -> str:
    """Source of a callback that takes the arguments which this call passes."""
    k = rng.randint(2, 9)
    parameters, body = {
        "$fn($x)": ("a", f"a + {k}"),
        "$fn($i, $x)": ("i, a", f"a - i * {k}"),
        "$fn($x, $i, $xs)": ("a, i, xs", f"a + i + {k} * len(xs)"),
        "$fn()": ("", str(k)),
    }[code]
    return f"lambda {parameters}: {body}".replace("lambda :", "lambda:")


def _arguments(kind: str, rng: random.Random, code: Mapping[str, str]) -> tuple[str, ...]:
    """Source of one call's arguments; ``code`` maps each slot to its code (records must hold the right key)."""
    match kind:
        case "numbers":
            return (repr(_ints(rng, -9, 19, (4, 6))),)
        case "few_numbers":
            return (repr(_ints(rng, 0, 9, (3, 4))),)
        case "many_numbers":
            return (repr(_ints(rng, 0, 9, (5, 8))),)
        case "numbers_or_few":
            return (repr(_ints(rng, -9, 19, (4, 5) if rng.random() < 0.6 else (0, 1))),)
        case "words":
            return (repr(_words(rng, 3, 4)),)
        case "text":
            return (repr("".join(rng.choice(WORDS) for _ in range(rng.randint(1, 2))) if rng.random() < 0.6
                         else rng.choice(("", "a", "e", "t", "zz", "b"))),)  # fmt: skip
        case "records":
            return (repr(_records(rng, code["key"], _AMOUNTS, lambda r: r.randint(1, 19), 2)),)
        case "records_or_none":
            low = 2 if rng.random() < 0.7 else 0
            rows = _records(rng, code["key"], _AMOUNTS, lambda r: r.randint(1, 19), low) if low else []
            return (repr(rows),)
        case "labels":
            return (repr(_records(rng, code["key"], _LABELS, lambda r: r.choice(WORDS), 2)),)
        case "matrix":
            return (repr([_ints(rng, 0, 9, (2, 3)) for _ in range(rng.randint(2, 3))]),)
        case "callback":
            return (repr(_ints(rng, -9, 19, (3, 5))), _callback(rng, code["call"]))
        case "dicts":
            keys = rng.sample("abcdefg", 4)
            return tuple(repr({k: rng.randint(1, 9) for k in chosen}) for chosen in (keys[:3], keys[1:]))
        case "integer":
            # Short numbers and repeated digits, so that now and then no digit is kept and the fallback shows. Never
            # 0, which has one digit as text and none by division.
            return (rng.choice((str(rng.randint(1, 99999)), str(rng.randint(1, 9)), str(rng.randint(1, 9)) * 3)),)
        case "table":
            words = _words(rng, 3, 3)
            known = rng.sample(words, rng.randint(1, 2))
            return (repr(words), repr({w: rng.randint(1, 9) for w in known}))
    raise ValueError(f"no way to draw arguments of kind {kind!r}")


# --- from a draw to text ---------------------------------------------------------------------------------


def prior(slot: Slot) -> list[float]:
    """Probability of each value: :data:`MODE` for the first, the rest shared equally."""
    rest = len(slot.values) - 1
    return [MODE] + [(1 - MODE) / rest] * rest


def _fill(template: str, mapping: Mapping[str, str]) -> str:
    """Slots first, then the identifiers inside the slots' code."""
    return Template(Template(template).safe_substitute(mapping)).substitute(mapping)


def body(task: Task, values: Mapping[str, int] | None = None, way: int = 0) -> str:
    """The function's body, indented, as a completion of :func:`prompt`: it starts with a newline.

    ``values`` overrides the slots' values (other readings, bugs); ``way`` chooses among the family's ways
    to write it.
    """
    chosen = {**task.values, **(values or {})}
    code = {slot.name: slot.values[chosen[slot.name]].code for slot in task.family.slots}
    lines = _fill(task.family.bodies[way], {**task.names, **code}).split("\n")
    return "".join("\n" + ("    " + line if line else "") for line in lines)


def signature(task: Task) -> str:
    """``def f(xs):``"""
    return f"def {task.names['f']}({', '.join(task.names[a] for a in task.family.arguments)}):"


def prompt(task: Task, examples: Sequence[tuple[str, str]] = ()) -> str:
    """Signature and docstring, ending in the docstring's last quote; ``examples`` become doctest lines."""
    if not examples:
        return f'{signature(task)}\n    """{task.description}"""'
    lines = "".join(f"\n    >>> {call}\n    {value}" for call, value in examples)
    return f'{signature(task)}\n    """{task.description}{lines}\n    """'


def program(task: Task, values: Mapping[str, int] | None = None, way: int = 0) -> str:
    """The whole definition without its docstring."""
    return signature(task) + body(task, values, way)


def draw_task(rng: random.Random, ambiguity: float = AMBIGUITY, split: str | None = None) -> Task:
    """Draw a family, its slots' values, what is left open, names and words; only from ``split`` if given.

    Raises:
        ValueError: ``ambiguity`` outside 0 to 1, or an unknown split.
    """
    if not 0 <= ambiguity <= 1:
        raise ValueError(f"ambiguity is {ambiguity}; it is a probability: give a number from 0 to 1")
    if split is not None and split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; TinyPrograms has {', '.join(SPLITS)}")
    while True:
        family = rng.choice(FAMILIES)
        values = {s.name: rng.choices(range(len(s.values)), prior(s))[0] for s in family.slots}
        if split is None or split_of(family, values) == split:
            break
    left_open = frozenset(s.name for s in family.slots if rng.random() < ambiguity)
    habit = rng.randrange(4)
    names = {place: pool[habit] for place, pool in {**ARGUMENTS, **LOCALS}.items()}
    names["f"] = rng.choice(family.functions)
    said = {
        s.name: rng.choice(s.open if s.name in left_open else s.values[values[s.name]].phrases) for s in family.slots
    }
    description = _fill(rng.choice(family.descriptions), {**names, **said})
    return Task(family, values, left_open, names, description)


def split_of(family: Family, values: Mapping[str, int]) -> str:
    """The split that owns a program: decided by its slots' values, so that no renaming crosses over."""
    key = family.name + "".join(f"/{s.name}={values[s.name]}" for s in family.slots)
    bucket = int(hashlib.sha256(key.encode()).hexdigest(), 16) % 100
    return "test" if bucket < 10 else "validation" if bucket < 15 else "train"


# --- execution of our own programs -----------------------------------------------------------------------


class _Fails:
    """What a reading gives where its program raises; equal to nothing."""

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None


FAILS = _Fails()


_PLAIN = {place: pool[0] for place, pool in {**ARGUMENTS, **LOCALS}.items()} | {"f": "f"}


@lru_cache(maxsize=16384)
def _function(family: Family, values: tuple[int, ...]) -> Callable:
    """A filling of a family's slots as a function. Identifiers do not change what it computes: all go by the same."""
    chosen = {slot.name: index for slot, index in zip(family.slots, values)}
    scope: dict[str, Any] = {}
    exec(compile(program(Task(family, chosen, frozenset(), _PLAIN, "")), "<tinyprograms>", "exec"), scope)
    return scope["f"]


@lru_cache(maxsize=16384)
def _expression(arguments: tuple[str, ...]) -> CodeType:
    return compile(f"({', '.join(arguments)},)", "<tinyprograms>", "eval")


def evaluate(task: Task, arguments: Sequence[Sequence[str]], values: Mapping[str, int] | None = None) -> list[Any]:
    """What the task's own program, or another reading of it, returns for each call; :data:`FAILS` if it raises."""
    chosen = {**task.values, **(values or {})}
    function, results = _function(task.family, tuple(chosen[slot.name] for slot in task.family.slots)), []
    for call in arguments:
        try:
            results.append(function(*eval(_expression(tuple(call)))))
        except Exception:
            results.append(FAILS)
    return results


def _same(a: Any, b: Any) -> bool:
    """Equality as the tests see it, with types: ``True`` is not ``1`` in what a reader is shown."""
    return a is not FAILS and b is not FAILS and a == b


def readings(task: Task) -> Iterator[tuple[dict[str, int], float]]:
    """Every filling of the open slots with its prior probability; the other slots keep their values."""
    slots = [s for s in task.family.slots if s.name in task.open]
    for chosen in itertools.product(*(range(len(s.values)) for s in slots)):
        weight = 1.0
        for slot, index in zip(slots, chosen):
            weight *= prior(slot)[index]
        yield {s.name: i for s, i in zip(slots, chosen)}, weight


def distinct_calls(task: Task, rng: random.Random, count: int) -> list[tuple[str, ...]]:
    """Distinct calls on which the task's own program does not raise."""
    code = {s.name: s.values[task.values[s.name]].code for s in task.family.slots}
    seen: dict[tuple[str, ...], None] = {}
    for _ in range(40):
        fresh = [_arguments(task.family.inputs, rng, code) for _ in range(count)]
        for call, value in zip(fresh, evaluate(task, fresh)):
            if value is not FAILS:
                seen.setdefault(call, None)
        if len(seen) >= count:
            break
    return list(seen)[:count]


def _telling(task: Task, calls: Sequence[tuple[str, ...]]) -> bool:
    """Whether these calls tell the program from each that differs in one slot."""
    truth = evaluate(task, calls)
    for slot in task.family.slots:
        for index in range(len(slot.values)):
            if index != task.values[slot.name]:
                other = evaluate(task, calls, {slot.name: index})
                if all(_same(a, b) for a, b in zip(truth, other)):
                    return False
    return True


def draw_calls(task: Task, rng: random.Random) -> list[tuple[str, ...]]:
    """:data:`PUBLIC` + :data:`HIDDEN` calls; each part tells the program from its one-slot neighbours if it can.

    Where only one part can (a fallback that a single call betrays), it is the public one: what feedback cannot
    show, nobody could mend.
    """
    chosen: list[tuple[str, ...]] = []
    for _ in range(12):
        calls = distinct_calls(task, rng, PUBLIC + HIDDEN)
        public = _telling(task, calls[:PUBLIC])
        if not chosen or public:
            chosen = calls
        if public and _telling(task, calls[PUBLIC:]):
            break
    return chosen


def make_problem(task: Task, task_id: str, rng: random.Random) -> Problem:
    """The draw as a :class:`~cycle_utils.problems.Problem`, with tests and every way to write it."""
    calls = draw_calls(task, rng)
    values = evaluate(task, calls)
    tests = [f"assert {task.names['f']}({', '.join(c)}) == {v!r}" for c, v in zip(calls, values)]
    evidence = {s.name: s.evidence for s in task.family.slots}
    return Problem(
        task_id=task_id,
        prompt=prompt(task),
        entry_point=task.names["f"],
        tests=tuple(tests),
        public_tests=tuple(tests[:PUBLIC]),
        canonical_solutions=tuple(body(task, way=way) for way in range(len(task.family.bodies))),
        meta={
            "family": task.family.name,
            "open": {name: evidence[name] for name in sorted(task.open)},
            "task": task,
            "calls": tuple(calls),
        },
    )


def generate(split: str, count: int, seed: int = 0, ambiguity: float = AMBIGUITY) -> list[Problem]:
    """``count`` distinct problems of a split; the same arguments give the same problems.

    Raises:
        ValueError: unknown split, ``ambiguity`` outside 0 to 1, or a negative count.
    """
    if count < 0:
        raise ValueError(f"limit is {count}; ask for 0 problems or more")
    rng = random.Random(f"tinyprograms/{split}/{seed}/{ambiguity}")
    problems, seen = [], set()
    while len(problems) < count:
        task = draw_task(rng, ambiguity, split)
        if (text := prompt(task)) in seen:
            continue
        seen.add(text)
        problems.append(make_problem(task, f"TinyPrograms/{split}/{seed}/{len(problems)}", rng))
    return problems


def count_problems() -> dict[str, int]:
    """How many distinct (program, description) pairs, and programs up to renaming and way, there are."""
    programs = descriptions = 0
    for family in FAMILIES:
        filled = said = 1
        for slot in family.slots:
            filled *= len(slot.values)
            said *= sum(len(v.phrases) + len(slot.open) for v in slot.values)
        programs += filled
        descriptions += said * len(family.descriptions)
    return {"families": len(FAMILIES), "programs": programs, "problems": descriptions}


# --- the ceiling -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reader:
    """An ideal reader's walk through one problem: the readings it tries and when it is right."""

    tried: tuple[dict[str, int], ...]
    left: tuple[int, ...]  # readings still possible before each try
    solved: int | None  # round of the passing try; None if it never passes


def read_ideally(problem: Problem, rounds: int = 4, tests: str = "all") -> Reader:
    """Try the most probable reading; after each failure drop all readings that the shown test rules out.

    The first try is the best possible one. Later tries are the most probable ones given all that was shown;
    a reader that tried for information instead could at most be better in the rounds after.
    """
    task, calls = problem.meta["task"], problem.meta["calls"]
    shown = range(len(calls)) if tests == "all" else range(len(problem.public_tests))
    truth = evaluate(task, calls)
    table = [(v, w, evaluate(task, calls, v)) for v, w in readings(task)]
    tried, left = [], []
    for attempt in range(rounds + 1):
        # Readings that agree on every test are one answer: their weights add up.
        best = max(table, key=lambda row: sum(w for _, w, o in table if all(map(_same, o, row[2]))))
        tried.append(best[0])
        left.append(len(table))
        wrong = [i for i in range(len(calls)) if not _same(best[2][i], truth[i])]
        if not wrong:
            return Reader(tuple(tried), tuple(left), attempt)
        test = next((i for i in wrong if i in shown), None)
        if test is None:  # nothing to learn from: strike this answer and go on
            table = [row for row in table if not all(map(_same, row[2], best[2]))]
        else:
            table = [row for row in table if _same(row[2][test], truth[test])]
    return Reader(tuple(tried), tuple(left), None)


def ceiling(problems: Sequence[Problem], rounds: int = 4, tests: str = "all") -> list[float]:
    """Pass rate of the ideal reader after each round, 0 to ``rounds``: shares of ``problems``."""
    solved = [read_ideally(problem, rounds, tests).solved for problem in problems]
    return [sum(s is not None and s <= r for s in solved) / max(len(solved), 1) for r in range(rounds + 1)]
