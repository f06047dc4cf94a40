# weave.awk - prints the book's chapters with the program's sources in them.
#
#   awk -v out=DIR -v all="src/a.h src/a.c ..." -f book/weave.awk book/[0-9]*.md
#
# A chapter line that is exactly  <<FILE: TEXT>>  prints FILE from where the book last stopped
# through the end of the next top-level definition whose first line contains TEXT, and the blank
# lines after it. So the book prints every line once and in file order. The woven chapter goes to
# DIR under its own name; each piece of code is a fence that names its file and first line.
#
# The run fails, naming chapter and line, when
#   a file cannot be read, TEXT is not found, a piece holds two function bodies,
#   a file is not printed to its end, a file of `all` is in no chapter,
#   or the prose names a function as `name()` that no printed file defines.
#
# Sources are formatted by clang-format: what begins in column 0 is top level, and a brace alone in
# column 0 ends a function.

function complain(message) {
    print message > "/dev/stderr"
    bad = 1
}

function load(file,   text, n) {
    n = 0
    while ((getline text < file) > 0) line[file, ++n] = text
    close(file)
    length_of[file] = n
    next_line[file] = 1
    if (n == 0) complain(FILENAME ":" FNR ": cannot read " file)
}

# The line without strings, characters and comments, so that braces and names in them do not count.
# A comment over several lines is not known here: the sources use // only.
function bare(text) {
    gsub(/\\\\/, "", text)
    gsub(/\\["']/, "", text)
    gsub(/'"'/, "", text)
    gsub(/"[^"]*"/, "\"\"", text)
    gsub(/'[^']*'/, "''", text)
    sub(/\/\/.*$/, "", text)
    gsub(/\/\*[^*]*\*\//, "", text)
    sub(/[ \t]+$/, "", text)
    return text
}

# How many braces the line opens and does not close.
function depth_of(text,   opened, closed) {
    opened = gsub(/[{]/, "{", text)
    closed = gsub(/[}]/, "}", text)
    return opened - closed
}

# The last line of the piece that TEXT asks for, or 0.
function last_line(file, text,   i, n, depth, b) {
    n = length_of[file]
    for (i = next_line[file]; i <= n; i++)
        if (line[file, i] ~ /^[^ \t\/{}]/ && index(line[file, i], text)) break
    if (i > n) return 0
    if (line[file, i] ~ /^#/) {
        while (i < n && line[file, i] ~ /\\$/) i++
    } else {
        depth = 0
        for (; i <= n; i++) {
            b = bare(line[file, i])
            depth += depth_of(b)
            if (depth == 0 && b ~ /[;}]$/) break
        }
        if (i > n) i = n
    }
    while (i < n && line[file, i + 1] ~ /^[ \t]*$/) i++
    return i
}

# Notes the functions and macros that a printed line defines. The name on a line in column 0 waits
# for a "{"; a ";" before that makes it a declaration, which defines nothing.
function note_definition(file, text,   b, opens) {
    if (text ~ /^#[ \t]*define[ \t]/) {
        sub(/^#[ \t]*define[ \t]+/, "", text)
        if (match(text, /^[A-Za-z_][A-Za-z_0-9]*\(/)) defined[substr(text, 1, RLENGTH - 1)] = 1
        return
    }
    if (text ~ /^#/) return
    b = bare(text)
    if (b ~ /^[A-Za-z_]/) {
        gsub(/__[A-Za-z_0-9]+ *\([^()]*(\([^()]*(\([^()]*\)[^()]*)*\)[^()]*)*\)/, "", b)
        waiting[file] = ""
        opens = b
        sub(/=.*$/, "", opens)
        if (match(opens, /[A-Za-z_][A-Za-z_0-9]*\(/))
            waiting[file] = substr(opens, RSTART, RLENGTH - 1)
    }
    if (waiting[file] == "") return
    if (index(b, "{")) {
        defined[waiting[file]] = 1
        waiting[file] = ""
    } else if (b ~ /;$/) waiting[file] = ""
}

function print_piece(file, text,   end, i, bodies) {
    if (!(file in length_of)) load(file)
    if (length_of[file] == 0) return
    end = last_line(file, text)
    if (end == 0) {
        complain(FILENAME ":" FNR ": \"" text "\" not found in " file " from line " next_line[file])
        return
    }
    printf "``` {.c .numberLines startFrom=\"%d\" file=\"%s\"}\n", next_line[file], file > woven
    bodies = 0
    for (i = next_line[file]; i <= end; i++) {
        print line[file, i] > woven
        if (line[file, i] == "}") bodies++
        if (line[file, i] ~ /^```/) complain(file ":" i ": a line that begins with ``` ends a fence")
        note_definition(file, line[file, i])
    }
    print "```" > woven
    next_line[file] = end + 1
    if (bodies > 1)
        complain(FILENAME ":" FNR ": \"" text "\" prints " bodies " functions of " file \
            "; give each its prose")
}

FNR == 1 {
    woven = FILENAME
    sub(/^.*\//, "", woven)
    woven = out "/" woven
    printf "" > woven
    quoted = 0
}

/^```/ { quoted = !quoted } # the chapter's own fences are copied as they are

!quoted && /^<<[^:>]+: .+>>$/ {
    file = substr($0, 3, index($0, ": ") - 3)
    text = substr($0, index($0, ": ") + 2)
    print_piece(file, substr(text, 1, length(text) - 2))
    next
}

{
    print > woven
    if (quoted) next
    rest = $0
    while (match(rest, /`[A-Za-z_][A-Za-z_0-9]*\(\)`/)) {
        name = substr(rest, RSTART + 1, RLENGTH - 4)
        if (!(name in said)) said[name] = FILENAME ":" FNR
        rest = substr(rest, RSTART + RLENGTH)
    }
}

END {
    for (file in length_of)
        if (next_line[file] <= length_of[file])
            complain(file ": lines " next_line[file] " to " length_of[file] " are in no chapter")
    n = split(all, wanted, " ")
    for (i = 1; i <= n; i++)
        if (!(wanted[i] in length_of)) complain(wanted[i] ": in no chapter")
    for (name in said)
        if (!(name in defined))
            complain(said[name] ": the prose names " name "(), which no printed file defines")
    exit bad
}
