#!/bin/sh
# weave.sh - weave prints a small program whole, unweave gives it back byte for byte, and each way
# in which a chapter can be wrong makes weave fail with the line that says so.
cd "$(dirname "$0")/.." || exit 1
here=$PWD
rm -rf build/weave && mkdir -p build/weave/src build/weave/out build/weave/joined/src || exit 1
cd build/weave || exit 1
failed=0
no() {
    echo "FAIL weave: $*"
    failed=1
}
weave() { # weave ALL CHAPTER...: its messages go to the file messages
    all=$1
    shift
    awk -v out=out -v all="$all" -f "$here/book/weave.awk" "$@" 2>messages
}
# Each layout that once confused the search for a definition's end, or a name's, is in this file.
cat >src/a.h <<'EOF'
// a.h - a header.
#ifndef A_H
#define A_H
#define TWICE(x)                                                                                   \
    ((x) + (x))
struct a {
    int n; // a comment with a } and a "
};
int declared_only(int first,
                  int second);
#define LOOP(x)                                                                                    \
    do { (void)(x); } while (0)
__attribute__((format(printf, 1, 2))) static inline int noted(const char *f, ...) { return !f; }
#endif
EOF
cat >src/a.c <<'EOF'
#include "a.h"

static const int table[4] = {1, 2,
                             3, 4};

// The first function; its text holds braces: they do not count.
static int first(void) {
    const char *s = "} not the end \"";
    return s[0] == '{' || s[1] == '"';
}

int second(int long_argument_one,
           int long_argument_two) {
    return first() + table[0] + long_argument_one + long_argument_two;
}
EOF
cat >1.md <<'EOF'
# 1. One
The macro `TWICE()`, then `noted()`.

<<src/a.h: TWICE(>>
<<src/a.h: struct a>>
<<src/a.h: declared_only(>>
<<src/a.h: #endif>>
EOF
cat >2.md <<'EOF'
# 2. Two
In a fence of the chapter's own nothing is printed and no name is looked up:

```
<<src/none.c: f(>> and `missing()`
```

<<src/a.c: first(>>

`second()` comes next.

<<src/a.c: second(>>
EOF

if weave "src/a.h src/a.c" 1.md 2.md && [ ! -s messages ]; then
    echo "ok weave: a good book"
else
    no "a good book" && cat messages
fi
awk -v out=joined -f "$here/book/unweave.awk" out/1.md out/2.md
if cmp src/a.h joined/src/a.h && cmp src/a.c joined/src/a.c; then
    echo "ok weave: unweave gives the files back byte for byte"
else
    no "unweave"
fi
if grep -q 'startFrom="11" file="src/a.h"' out/1.md &&
    grep -q 'startFrom="6" file="src/a.h"' out/1.md &&
    grep -q 'startFrom="12" file="src/a.c"' out/2.md; then
    echo "ok weave: a piece ends with its definition and is numbered by the file"
else
    no "where the pieces begin" && grep startFrom out/*.md
fi
sed 's/return first/return  first/' out/2.md >out/3.md
awk -v out=joined -f "$here/book/unweave.awk" out/1.md out/3.md
if cmp -s src/a.c joined/src/a.c; then no "unweave of a changed page"; else
    echo "ok weave: a page with one changed byte no longer gives the file"
fi

# wrong NAME MESSAGE ALL CHAPTER...: weave must fail, and say MESSAGE.
wrong() {
    name=$1
    message=$2
    shift 2
    if weave "$@"; then
        no "$name: passes"
    elif grep -qF "$message" messages; then
        echo "ok weave: fails on $name"
    else
        no "$name: fails, but says:" && cat messages
    fi
}
all="src/a.h src/a.c"
sed 's/: first(/: absent(/' 2.md >bad.md
wrong "an anchor that is not in the file" \
    'bad.md:8: "absent(" not found in src/a.c' "$all" 1.md bad.md
sed '/: first(/d' 2.md >bad.md
wrong "two functions in one piece" \
    '"second(" prints 2 functions of src/a.c' "$all" 1.md bad.md
sed '/: second(/d' 2.md >bad.md
wrong "a file that is not printed to its end" \
    "src/a.c: lines 12 to 15 are in no chapter" "$all" 1.md bad.md
sed 's/: #endif/: noted(/' 1.md >bad.md
wrong "a file whose last line is not printed" \
    "src/a.h: lines 14 to 14 are in no chapter" "$all" bad.md 2.md
wrong "a file in no chapter" "src/b.c: in no chapter" "$all src/b.c" 1.md 2.md
sed 's/`second()`/`third()`/' 2.md >bad.md
wrong "prose that names no function" "bad.md:10: the prose names third()" "$all" 1.md bad.md
sed 's/`second()`/`declared_only()`/' 2.md >bad.md
wrong "prose that names a mere declaration" "the prose names declared_only()" "$all" 1.md bad.md
{ cat 2.md && echo '<<src/none.c: f(>>'; } >bad.md
wrong "a file that cannot be read" "cannot read src/none.c" "$all" 1.md bad.md
{ sed '/: second(/d' 2.md && echo '<<src/a.c: second(>>' && echo '<<src/a.c: first(>>'; } >bad.md
wrong "a piece out of the file's order" \
    '"first(" not found in src/a.c from line 16' "$all" 1.md bad.md
{ cat src/a.c && echo '```' && echo 'int end;'; } >src/c.c
{ sed 's/a\.c/c.c/' 2.md && echo '<<src/c.c: end>>'; } >bad.md
wrong "a source line that would end its fence" "src/c.c:16:" "src/a.h src/c.c" 1.md bad.md
exit $failed
