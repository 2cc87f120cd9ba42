# usage: awk [-v want=values|pairs|fields|rows] [-v path='KEY * KEY'] -f json.awk   (see json.sh)
#
# Reads JSON texts, one behind the other, by the grammar of RFC 8259, and prints what is asked for; whatever the order of the
# keys, the white space and the escapes. Ends with status 65 at what is no JSON; of rows, each of which is a line, it leaves
# out the ones that are none: what was cut off when the machine went down says nothing. In awk, for there is no Python where this
# runs: on the machine of an operator, and in the database's container.
#
# A token never goes over the end of a line, so a line at a time is looked at.

BEGIN {
  parts = split(path, wanted, " ")
  expected = "value"
}

{
  line = $0
  if (want == "rows") begin_anew()
  while (1) {
    sub(/^[ \t\r]+/, "", line)
    if (line == "") break
    if (match(line, /^[][{}:,]/)) take_mark(cut())
    else if (match(line, /^"([^"\\]|\\["\\\/bfnrt]|\\u[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f])*"/)) take_string(cut())
    else if (match(line, /^(-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?|true|false|null)/)) take_value(cut())
    else fail("unknown word")
  }
}

END {
  if (!broken && want != "rows" && depth) fail("it ends too early")
  if (broken) exit 65
}

function begin_anew() {
  depth = 0
  expected = "value"
  split("", row)
}

function fail(why) {
  if (want == "rows") {
    line = ""
    begin_anew()
    return
  }
  broken = 1
  printf "not JSON: %s in line %d\n", why, NR >"/dev/stderr"
  exit 65
}

# What match() has found, off the front of the line.
function cut(   token) {
  token = substr(line, 1, RLENGTH)
  line = substr(line, RLENGTH + 1)
  return token
}

function take_mark(mark) {
  if (mark == "{" || mark == "[") {
    if (expected !~ /value/) fail("unexpected " mark)
    depth++
    kind[depth] = mark
    key[depth] = mark == "[" ? 0 : ""
    expected = mark == "[" ? "value or ]" : "key or }"
  } else if (mark == "}" || mark == "]") {
    if (!depth || kind[depth] != (mark == "}" ? "{" : "[") || (expected != "more" && expected !~ mark_or(mark))) fail("unexpected " mark)
    depth--
    done()
  } else if (mark == ":" && expected == ":") {
    expected = "value"
  } else if (mark == "," && expected == "more") {
    expected = kind[depth] == "[" ? "value" : "key"
    if (kind[depth] == "[") key[depth]++
  } else {
    fail("unexpected " mark)
  }
}

# What `expected` is where this mark may end an empty one.
function mark_or(mark) { return mark == "}" ? "or }$" : "or ]$" }

function take_string(token) {
  token = decoded(substr(token, 2, length(token) - 2))
  if (expected ~ /key/) {
    key[depth] = token
    expected = ":"
  } else {
    take_scalar(token)
  }
}

function take_value(token) {
  if (line ~ /^[0-9A-Za-z_.+-]/) fail("unknown word")
  take_scalar(token == "null" ? "" : token)
}

function take_scalar(value,   i) {
  if (expected !~ /value/) fail("unexpected value")
  if (want == "rows" || want == "fields") {
    if (depth == 1) row[key[1]] = value
  } else if (depth == parts) {
    for (i = 1; i <= depth; i++) if (wanted[i] != "*" && wanted[i] != key[i] "") break
    if (i > depth) {
      if (want == "pairs") printf "%s%c%s%c", key[depth], 0, value, 0
      else print value
    }
  }
  done()
}

# A value has ended.
function done(   i, text) {
  expected = depth ? "more" : "value"
  if (depth || (want != "rows" && want != "fields")) return
  text = ""
  for (i = 1; i <= parts; i++) {
    gsub(/[\t\n]/, " ", row[wanted[i]])
    text = text (i > 1 ? "\t" : "") row[wanted[i]]
  }
  print text
  split("", row)
}

# decoded TEXT: without its escapes.
function decoded(text,   out, letter, code, low) {
  out = ""
  while (match(text, /\\/)) {
    out = out substr(text, 1, RSTART - 1)
    letter = substr(text, RSTART + 1, 1)
    text = substr(text, RSTART + 2)
    if (letter == "u") {
      code = number(substr(text, 1, 4))
      text = substr(text, 5)
      # Two of them stand for a character beyond the first 65,536.
      if (code >= 55296 && code < 56320 && text ~ /^\\u[dD][c-fC-F]/) {
        low = number(substr(text, 3, 4))
        text = substr(text, 7)
        code = 65536 + (code - 55296) * 1024 + low - 56320
      }
      out = out utf8(code)
    } else {
      out = out (letter == "n" ? "\n" : letter == "t" ? "\t" : letter == "r" ? "\r" : letter == "b" ? "\b" : letter == "f" ? "\f" : letter)
    }
  }
  return out text
}

# number HEX: what four hexadecimal digits say.
function number(digits,   i, sum) {
  for (i = 1; i <= 4; i++) sum = sum * 16 + index("0123456789abcdef", tolower(substr(digits, i, 1))) - 1
  return sum
}

# utf8 CODE: its bytes; none of 0, which no variable of a shell can hold.
function utf8(code) {
  if (code < 1) return ""
  if (code < 128) return sprintf("%c", code)
  if (code < 2048) return sprintf("%c%c", 192 + int(code / 64), 128 + code % 64)
  if (code < 65536) return sprintf("%c%c%c", 224 + int(code / 4096), 128 + int(code / 64) % 64, 128 + code % 64)
  return sprintf("%c%c%c%c", 240 + int(code / 262144), 128 + int(code / 4096) % 64, 128 + int(code / 64) % 64, 128 + code % 64)
}
