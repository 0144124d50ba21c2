"""The families: programs of one shape, written in two ways, with the slots that they leave."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cycle_utils.problems.tinyprograms.slots import (
    AMOUNT,
    ARRANGE,
    CALL,
    CASE,
    CHANGE,
    CHARS,
    CLASH,
    DIGITS_KEPT,
    EMPTY,
    FILL,
    KEEP,
    LABEL,
    ORDER,
    PAIR_TEST,
    PAIR_VALUE,
    RUNNING,
    SEP,
    SIZE,
    START,
    SUMMARY,
    TRAIT,
    WORDS_KEPT,
    WRAP,
    Slot,
    new_slot,
)


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
         new_slot("start0", "arithmetic", "a first value | an initial value",
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
         new_slot("order2", "legible", "arranged | put in order",
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

# Whole families that a training may leave out: the fifth whose names have the least digests, so that no result chose.
HELD_OUT: tuple[str, ...] = tuple(
    sorted((family.name for family in FAMILIES), key=lambda name: hashlib.sha256(name.encode()).hexdigest())
)[: round(len(FAMILIES) / 5)]

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
