# unweave.awk - joins the pieces of code in woven chapters to files again.
#
#   awk -v out=DIR -f book/unweave.awk WOVEN.md ...
#
# The piece of src/a.c goes to DIR/src/a.c, whose folder must exist. book.sh compares the files
# with the sources, byte for byte: what the book prints is the program.
/^``` \{.* file="[^"]*"\}$/ {
    file = $0
    sub(/^.* file="/, "", file)
    sub(/"\}$/, "", file)
    inside = 1
    next
}
inside && /^```$/ { inside = 0; next }
inside { print > (out "/" file) }
