r"""Reading the text of a record strictly: is it one JSON object, and of which kind is each of its fields?

``from_json`` alone is a trap: it coerces 5 to text, keeps the last of two equal keys, lets trailing data pass and
rewrites numbers. Two readings stand against that, and both give the same answer where both can answer:

- :mod:`features.plain_json` takes events beyond doubt, in one compiled pass, and leaves any doubtful record.
- :func:`strict_reading` takes every record. A regular expression cuts the object into its members, so that the kind
  of each value and its spelling are known; Jackson decides what is JSON; a variant finds equal keys at any depth.

The expressions are SQL text. As calls of Column methods they took 20,000 round trips to the JVM (2.5 s) to build, and
every micro-batch builds them; as text they are parsed in one go. :func:`let` keeps them small: it names a value once.

Arguments of all functions here are SQL expressions, and so are their results, unless said otherwise.
"""

from __future__ import annotations

REQUIRED = ("user_id", "action", "page", "timestamp")
TIMES = ("timestamp", "sent_at")
IDS = ("event_id", "session_id")
TEXTS = (*REQUIRED, *IDS, "sent_at")
FIELDS = (*TEXTS, "properties")

LONGEST_NUMBER = 1_000
LONGEST_NAME = 50_000
CLIP = 60

STRINGS = "map<string,string>"

# --- regular expressions; possessive, so that Java matches in a loop, without recursion and without going back -----

SPACE = r"[ \t\n\r]*+"
STRING = r'"(?:[^"\\]++|\\[\s\S])*+"'
SCALAR = r'[^ \t\n\r,{}\[\]"]++'
DIGITS = r"[0-9][0-9.eE+-]"
NUMBER = rf'\G(?:[^"0-9-]++|{STRING}|-(?![0-9]))*+(-?{DIGITS}*+)'
LONG_NUMBER = rf'^(?:[^"0-9-]++|{STRING}|-(?![0-9])|-?{DIGITS}{{0,{LONGEST_NUMBER - 1}}}+(?![0-9.eE+-]))*+-?[0-9]'
LONG_NAME = rf'"(?:[^"\\]|\\[\s\S]){{{LONGEST_NAME},}}+"{SPACE}:'
HALF_A_PAIR = (
    r"^(?:[^\\]++|\\[^u]|\\u(?![dD][89a-fA-F][0-9a-fA-F]{2})"
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})*+\\u[dD]"
)
ESCAPED_NUL = r"^(?:[^\\]++|\\[^u]|\\u(?!0000))*+\\u0000"
CONTROL_IN_STRING = r'^(?:[^"]++|"(?:[^"\\\x00-\x1f]++|\\[\s\S])*+")*+"'
KEY_OF_NO_NUMBER = rf'^(?:[^"]++|{STRING}(?!{SPACE}:{SPACE}[-+]?(?:NaN|INF|Infinity)))*+"((?:[^"\\]++|\\[\s\S])*+)"'
OBJECT_START = rf"^{SPACE}\{{"


def member(depth: int) -> str:
    """Regular expression (no SQL) whose matches are the members of a JSON object, and its end if nothing trails.

    Group 1 is the value as written, empty for the end. Nesting is followed ``depth`` levels down.
    """
    nested = rf'(?:[^\[\]{{}}"]++|{STRING})*+'
    for _ in range(depth - 1):
        nested = rf'(?:[^\[\]{{}}"]++|{STRING}|[\[{{]{nested}[\]}}])*+'
    value = rf"{STRING}|[\[{{]{nested}[\]}}]|{SCALAR}"
    entry = rf"(?:{OBJECT_START}|,){SPACE}{STRING}{SPACE}:{SPACE}({value}){SPACE}"
    return rf"\G(?:{entry}|(?:{OBJECT_START}{SPACE})?+\}}{SPACE}\z)"


# --- pieces of SQL -----------------------------------------------------------------------------------------------


def quoted(text: str) -> str:
    """A Python text as a SQL literal; no escapes apply. It must not hold a single quote."""
    assert "'" not in text, text
    return f"r'{text}'"


def names(of: tuple[str, ...]) -> str:
    return f"array({', '.join(map(quoted, of))})"


def matches(text: str, pattern: str) -> str:
    return f"{text} RLIKE {quoted(pattern)}"


def let(name: str, value: str, body: str) -> str:
    """``body``, in which ``name`` stands for ``value``: evaluated once per row, and only where ``body`` is."""
    return f"get(transform(array({value}), {name} -> {body}), 0)"


def fault(reason: str, field: str = "NULL", detail: str = "NULL") -> str:
    """A verdict. ``reason`` is a name of ``features.events.REASONS``."""
    fields = f"'reason', '{reason}', 'field', CAST({field} AS STRING), 'detail', CAST({detail} AS STRING)"
    return f"named_struct({fields})"


def first_of(*cases: tuple[str, str]) -> str:
    """The verdict of the first case whose condition holds; null if none does."""
    return f"CASE {' '.join(f'WHEN {condition} THEN {verdict}' for condition, verdict in cases)} END"


def read(text: str, shape: str, *, depth: int, longest: int, lenient: bool = False) -> str:
    """``from_json`` without leniency; null where the first value of ``text`` is no ``shape``.

    Args:
        text: the text.
        shape: a type (DDL, no expression).
        depth: deepest nesting that is read, the outermost brackets counted.
        longest: characters of the longest string or number.
        lenient: take NaN and raw control characters nevertheless.
    """
    options = {
        "allowSingleQuotes": "false",
        "allowNonNumericNumbers": str(lenient).lower(),
        "allowUnquotedControlChars": str(lenient).lower(),
        "maxNestingDepth": str(depth),
        "maxNumLen": str(longest),
        "maxStringLen": str(longest),
        "columnNameOfCorruptRecord": "corrupt",
    }
    pairs = ", ".join(f"'{key}', '{value}'" for key, value in options.items())
    return f"from_json({text}, '{shape}', map({pairs}))"


def distinct_keys(entries: str) -> str:
    return f"(size({entries}) <= 1 OR size(array_distinct(map_keys({entries}))) = size({entries}))"


# --- reading --------------------------------------------------------------------------------------------------


def strict_reading(text: str, *, depth: int, longest: int) -> str:
    """Struct of ``verdict`` (null where nothing is wrong so far) and, where it is null, ``texts`` (map of the seven
    text fields as sent; a number that stands for a time as written) and ``properties`` (map of strings).

    ``text`` is a column of valid UTF-8.
    """
    tokens = f"regexp_extract_all({text}, {quoted(member(depth))}, 1)"
    properties = all_properties("record", "tokens", depth=depth, longest=longest)
    outcome = (
        "named_struct('verdict', verdict, "
        f"'texts', CASE WHEN verdict IS NULL THEN {texts('record', 'tokens')} END, "
        f"'properties', CASE WHEN verdict IS NULL THEN {properties} END)"
    )
    judged = let("verdict", verdict_on(text, "record", "tokens", depth=depth, longest=longest), outcome)
    cut = let("tokens", f"CASE WHEN record IS NOT NULL THEN {tokens} END", judged)
    return let("record", read(text, STRINGS, depth=depth, longest=longest), cut)


def token(name: str, record: str, tokens: str) -> str:
    """The value of a field as written; null where the field is not there."""
    return f"get({tokens}, int(array_position(map_keys({record}), {name})) - 1)"


def verdict_on(text: str, record: str, tokens: str, *, depth: int, longest: int) -> str:
    """The first thing wrong with the text; ``record`` is its first object, ``tokens`` the values as written."""
    size = f"octet_length({text})"
    too_long = (
        f"({size} > {LONGEST_NUMBER} AND {matches(text, LONG_NUMBER)})"
        f" OR ({size} > {LONGEST_NAME} AND {matches(text, LONG_NAME)})"
    )
    keys = f"map_keys({record})"
    second = f"get(filter({keys}, (name, i) -> array_position({keys}, name) < i + 1), 0)"
    suspected = matches(text, r"[0-9][eE]\+?[0-9]{2}|[0-9]{300}")
    lost = f"get(filter({names(REQUIRED)}, name -> {record}[name] IS NULL), 0)"
    wrong = f"get(filter({names(FIELDS)}, name -> {is_wrong_kind('name', record, tokens)}), 0)"
    return first_of(
        (too_long, fault("too_large", detail=f"'a number of over {LONGEST_NUMBER} digits or an endless name'")),
        (matches(text, HALF_A_PAIR), fault("not_utf8", detail="'an escape of half a surrogate pair'")),
        (f"{record} IS NULL", unreadable(text, depth=depth, longest=longest)),
        (f"size({tokens}) != size({record}) + 1", fault("trailing_data", detail="'more follows the object'")),
        (matches(text, ESCAPED_NUL), fault("control_character", detail="'an escaped NUL'")),
        (f"NOT {distinct_keys(record)}", fault("duplicate_key", clipped(second), "'more than one value'")),
        (
            f"exists({tokens}, token -> {is_nested('token')}) AND try_parse_json({text}) IS NULL",
            fault("duplicate_key", holder(record, tokens, has_key_twice("token")), "'a key twice within it'"),
        ),
        (
            f"{suspected} AND exists({tokens}, token -> {is_beyond_double('token')})",
            fault("wrong_type", holder(record, tokens, is_beyond_double("token")), "'a number beyond any range'"),
        ),
        (f"{lost} IS NOT NULL", let("lost", lost, fault("missing_field", "lost", how_missing("lost", record)))),
        (f"{wrong} IS NOT NULL", let("wrong", wrong, fault("wrong_type", "wrong", how_wrong("wrong", record, tokens)))),
    )


def clipped(text: str) -> str:
    return f"left({text}, {CLIP})"


def holder(record: str, tokens: str, condition: str) -> str:
    """The first key whose ``token`` fulfils the condition."""
    found = f"filter(map_keys({record}), (name, i) -> {let('token', f'get({tokens}, i)', condition)})"
    return clipped(f"get({found}, 0)")


def is_nested(token: str) -> str:
    return f"left({token}, 1) IN ('{{', '[')"


def has_key_twice(token: str) -> str:
    return f"({is_nested(token)} AND try_parse_json({token}) IS NULL)"


def is_beyond_double(token: str) -> str:
    """Whether a number such as 1e400 is in it: tools read it as infinity."""
    numbers = f"regexp_extract_all({token}, {quoted(NUMBER)}, 1)"
    return f"exists({numbers}, number -> abs(try_cast(number AS DOUBLE)) = double('infinity'))"


def how_missing(name: str, record: str) -> str:
    """In words; a key that comes close (``User_Id``, ``userid``) is named."""
    bare = f"replace({name}, '_', '')"
    is_close = (
        f"levenshtein(regexp_replace(lower(key), '[^a-z0-9]', ''), {bare}, 1) >= 0"
        f" AND NOT array_contains({names(FIELDS)}, key)"
    )
    close = clipped(f"get(filter(map_keys({record}), key -> {is_close}), 0)")
    return (
        f"CASE WHEN map_contains_key({record}, {name}) THEN 'is null'"
        f""" ELSE coalesce('not there, but "' || {close} || '" is', 'not there') END"""
    )


def is_wrong_kind(name: str, record: str, tokens: str) -> str:
    """Whether the field is of another type. A number for a time is left to the judge of times."""
    value = token(name, record, tokens)
    objects = matches(value, r"^(?:\{|null$)")
    times = matches(value, r'^(?:"|null$|[0-9-])')
    strings = matches(value, r'^(?:"|null$)')
    is_time = f"{name} IN ({', '.join(map(quoted, TIMES))})"
    return f"NOT CASE WHEN {name} = 'properties' THEN {objects} WHEN {is_time} THEN {times} ELSE {strings} END"


def how_wrong(name: str, record: str, tokens: str) -> str:
    needed = f"if({name} = 'properties', '; needed an object', '; needed a string')"
    value = token(name, record, tokens)
    return let("token", value, f"'found ' || {kind('token')} || ': ' || {clipped('token')} || {needed}")


def kind(token: str) -> str:
    """What a JSON value is, in words, from how it starts."""
    words = {'"': "a string", "{": "an object", "[": "an array", "t": "a boolean", "f": "a boolean", "n": "null"}
    pairs = ", ".join(f"'{start}', '{word}'" for start, word in words.items())
    return f"coalesce(map({pairs})[left({token}, 1)], 'a number')"


def unreadable(text: str, *, depth: int, longest: int) -> str:
    """The verdict on a text that does not start with a JSON object of at most ``depth`` levels."""
    no_number = clipped(f"nullif(regexp_extract({text}, {quoted(KEY_OF_NO_NUMBER)}, 1), '')")
    not_json = fault("not_json", detail=why_not_json(text))
    too_deep = fault("too_deep", detail=f"'nested deeper than {depth} levels'")
    of_object = first_of(
        (starts_with_object(text, depth=longest, longest=longest), too_deep),
        (f"NOT {is_json(text, depth=longest, longest=longest, lenient=True)}", not_json),
        (matches(text, CONTROL_IN_STRING), fault("control_character", detail="'a raw one within a string'")),
        ("true", fault("wrong_type", no_number, "'NaN or Infinity, which is no JSON number'")),
    )
    found = kind(rf"ltrim(' \t\n\r', {text})")
    of_other = first_of(
        (f"NOT {is_json(text, depth=longest, longest=longest)}", not_json),
        (f"NOT {is_json(text, depth=depth, longest=longest)}", too_deep),
        ("true", fault("not_an_object", detail=f"'found ' || {found}")),
    )
    return f"CASE WHEN {matches(text, OBJECT_START)} THEN {of_object} ELSE {of_other} END"


def is_json(text: str, *, depth: int, longest: int, lenient: bool = False) -> str:
    """Whether the text is one JSON value of at most ``depth`` levels, and nothing else.

    Two wrappings, because the text could close one of them early, but not both.
    """
    wrapped = [f"""'{{"value":' || {text} || '}}'""", f"""'{{"value":[' || {text} || ']}}'"""]
    levels = [depth + 1, depth + 2]
    both = [
        starts_with_object(w, depth=d, longest=longest, lenient=lenient) for w, d in zip(wrapped, levels, strict=True)
    ]
    return f"({' AND '.join(both)})"


def starts_with_object(text: str, *, depth: int, longest: int, lenient: bool = False) -> str:
    """Unlike a map, this struct skips values instead of writing them, so that any depth is followed."""
    found = read(text, "ignored int, corrupt string", depth=depth, longest=longest, lenient=lenient)
    return let("found", found, "found IS NOT NULL AND found.corrupt IS NULL")


def why_not_json(text: str) -> str:
    return (
        rf"CASE WHEN startswith({text}, '\uFEFF') THEN 'starts with a byte-order mark'"
        rf" WHEN contains({text}, '\0') THEN 'has NUL bytes, as UTF-16 or UTF-32 has: send UTF-8'"
        rf" WHEN {matches(text, OBJECT_START)} AND NOT {matches(text, rf'}}{SPACE}$')} THEN 'cut off: no }} at the end'"
        rf" ELSE 'starts with: ' || {clipped(text)} END"
    )


def texts(record: str, tokens: str) -> str:
    """The text fields as sent; a number that stands for a time, as written."""
    only = f"map_filter({record}, (name, value) -> array_contains({names(TEXTS)}, name))"
    written = token("name", record, tokens)
    return f"transform_values({only}, (name, value) -> if({matches(written, '^[0-9-]')}, {written}, value))"


def all_properties(record: str, tokens: str, *, depth: int, longest: int) -> str:
    """``properties`` and the extra fields in one map of texts.

    Strings are taken as sent, other values as written. The sender's own ``properties`` keep their names; an extra
    field of the same name ``x`` is kept as ``$.x`` (its JSON path), unless that name is taken, too.
    """
    extra = f"map_filter({as_written(record, tokens)}, (name, value) -> NOT array_contains({names(FIELDS)}, name))"
    value = token("'properties'", record, tokens)
    inner = f"regexp_extract_all(value, {quoted(member(depth))}, 1)"
    own_record = read("value", STRINGS, depth=depth, longest=longest)
    written = f"coalesce({as_written('inside', inner)}, CAST(map() AS {STRINGS}))"
    own = let("value", value, let("inside", own_record, written))
    path = "'$.' || name"
    is_lost = f"map_contains_key(own, name) AND (map_contains_key(own, {path}) OR map_contains_key(extra, {path}))"
    kept = f"map_filter(extra, (name, value) -> NOT ({is_lost}))"
    renamed = f"transform_keys({kept}, (name, value) -> if(map_contains_key(own, name), {path}, name))"
    return let("own", own, let("extra", extra, f"map_concat(own, {renamed})"))


def as_written(record: str, tokens: str) -> str:
    """The map with every value that is no string spelled as the sender did."""
    spelled = "if(value IS NULL OR startswith(get(written, i), '\"'), value, get(written, i))"
    values = let("written", tokens, f"transform(map_values({record}), (value, i) -> {spelled})")
    return f"map_from_arrays(map_keys({record}), {values})"
