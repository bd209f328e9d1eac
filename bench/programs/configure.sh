#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What configure scripts do: many short programs, pipes, here-documents and small files.
set -eu

dir=$(mktemp -d)
cd "$dir"
checks=0
for turn in 1 2 3 4 5 6; do
	for name in string.h stdio.h unistd.h sys/mman.h nothing.h; do
		macro=HAVE_$(echo "$name" | tr 'a-z/.' 'A-Z__')
		if [ -f "/usr/include/$name" ] || [ -f "/usr/include/x86_64-linux-gnu/$name" ]; then
			echo "#define $macro 1" >>config.h
		else
			echo "/* #undef $macro */" >>config.h
		fi
		checks=$(expr $checks + 1)
	done
	cat >Makefile.in <<-END
		CC = @CC@
		prefix = @prefix@
		turn = @turn@
	END
	sed -e 's,@CC@,gcc,' -e 's,@prefix@,/usr/local,' -e "s,@turn@,$turn," Makefile.in >Makefile
	grep -c gcc Makefile >/dev/null
	test "$(sed -n 's/^turn = //p' Makefile)" = $turn
	(uname -m; uname -s) | tr '\n' - | cut -c 1-8 >/dev/null
	mkdir -p "sub/$turn"
	mv Makefile "sub/$turn/"
	ls sub | sort -n | tail -n 1 >/dev/null
done
sort config.h | uniq -c | awk '{ n += $1 } END { print n }'
echo "$checks checks"
rm -rf "$dir"
