/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A line editor for a terminal at the other end of bytes: what is typed goes in, echo and finished
 * lines come out.  Needs of the terminal CR, LF, BS and two sequences of ECMA-48: erase to the end
 * of the line, and cursor back.  Knows no socket and no command.
 */
#include <stddef.h>
#include <stdint.h>

#define HMP_LINE 4096 /* bytes in a line, with the NUL */
#define HMP_HISTORY 64

struct hmp_edit;
struct hmp_edit_ops {
	void (*print)(void *opaque, const char *s, size_t len);
	void (*line)(void *opaque, const char *line);
	/* The words of which a person may mean one when they press the tab key behind `len` bytes
	 * of a line: call add with each. *word gets where the word begins. */
	void (*complete)(void *opaque, const char *line, size_t len, size_t *word,
			 void (*add)(struct hmp_edit *ed, const char *word), struct hmp_edit *ed);
};

struct hmp_edit {
	const struct hmp_edit_ops *ops;
	void *opaque;
	const char *prompt;
	size_t len, pos;
	char line[HMP_LINE];
	enum { EDIT_PLAIN, EDIT_ESC, EDIT_CSI, EDIT_SS3 } state;
	unsigned param; /* number in a sequence */
	uint8_t last; /* the byte before: LF behind CR is no second line */
	unsigned n_history, at; /* at: the entry shown; n_history: a new line */
	char *history[HMP_HISTORY]; /* oldest first */
	/* Of a completion under way. */
	const char *typed;
	size_t typed_len;
	unsigned n_found;
	size_t common;
	char found[64];
};

void hmp_edit_init(struct hmp_edit *ed, const struct hmp_edit_ops *ops, void *opaque,
		   const char *prompt);
void hmp_edit_fini(struct hmp_edit *ed);
/* hmp_edit_put - a byte that was typed. */
void hmp_edit_put(struct hmp_edit *ed, uint8_t c);
/* hmp_edit_show - prompt and line anew. */
void hmp_edit_show(struct hmp_edit *ed);
/* hmp_edit_clear - forget the line; the history stays. */
void hmp_edit_clear(struct hmp_edit *ed);
