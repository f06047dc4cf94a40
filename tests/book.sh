#!/bin/sh
# book.sh - the book can be woven, its code is the program, and it renders (book/book.sh).
exec sh "$(dirname "$0")/../book/book.sh"
