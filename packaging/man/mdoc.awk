# One command's `--help` as a sub-section of mdoc(7). Reads the shape that clap writes: a description, a
# line of usage, lists of arguments and options, and whatever words the program adds at the end.

function plain(text) {
    gsub(/\\/, "\\e", text)
    gsub(/`/, "", text)
    gsub(/-/, "\\-", text)
    if (text ~ /^[.']/) text = "\\\\&" text
    return text
}
function indent(text) { match(text, /[^ ]/); return RSTART - 1 }
function close_list() { if (in_list) print ".El"; in_list = 0 }
function close_block() { if (in_block) print ".Ed"; in_block = 0 }

BEGIN { print ".Ss " plain(words); part = "description" }

/^Usage: / {
    part = "usage"
    sub(/^Usage: /, "")
    print ".Pp\n.Dl " plain($0)
    next
}
part == "usage" && /^ +[^ ]/ { sub(/^ +/, ""); print ".Dl " plain($0); next }
/^(Commands|Arguments|Options):$/ {
    close_list(); close_block()
    part = ($0 == "Commands:") ? "skip" : "list"
    next
}
/^[A-Z][A-Za-z ]*:$/ && part != "description" {
    close_list(); close_block()
    part = "words"
    print ".Pp\n" plain($0) "\n.Bd -literal -offset indent"
    in_block = 1
    next
}
part == "skip" { next }
part == "description" {
    if ($0 == "") { if (said) waiting = 1; next }
    if (waiting) print ".Pp"
    waiting = 0; said = 1
    print plain($0)
    next
}
part == "list" && indent($0) < 8 && /^ +[-<\[]/ {
    line = $0
    sub(/^ +/, "", line)
    text = ""
    if (match(line, /   *[^ ]/)) {
        text = substr(line, RSTART)
        line = substr(line, 1, RSTART - 1)
        sub(/^ +/, "", text)
    }
    is_hidden = line ~ /--(help|version)$/
    if (is_hidden) next
    if (!in_list) { print ".Bl -tag -width Ds"; in_list = 1 }
    print ".It " plain(line)
    if (text != "") print plain(text)
    next
}
part == "list" && /[^ ]/ {
    if (is_hidden) next
    sub(/^ +/, "")
    if ($0 ~ /^(- |Possible values:)/) print ".br"
    print plain($0)
    next
}
part == "words" { print plain($0); next }

END { close_list(); close_block() }
