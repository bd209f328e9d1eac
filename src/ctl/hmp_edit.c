/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/hmp_edit.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/base.h"

#define CTRL(c) ((c)&0x1f)

static void ed_puts(struct hmp_edit *ed, const char *s)
{
	ed->ops->print(ed->opaque, s, strlen(s));
}

static void ed_back(struct hmp_edit *ed, size_t n)
{
	char s[24];

	if (!n)
		return;
	snprintf(s, sizeof(s), "\033[%zuD", n);
	ed_puts(ed, s);
}

void hmp_edit_show(struct hmp_edit *ed)
{
	ed_puts(ed, "\r");
	ed_puts(ed, ed->prompt);
	ed->ops->print(ed->opaque, ed->line, ed->len);
	ed_puts(ed, "\033[K");
	ed_back(ed, ed->len - ed->pos);
}

void hmp_edit_clear(struct hmp_edit *ed)
{
	ed->len = ed->pos = 0;
	ed->line[0] = 0;
	ed->at = ed->n_history;
	ed->state = EDIT_PLAIN;
}

void hmp_edit_init(struct hmp_edit *ed, const struct hmp_edit_ops *ops, void *opaque,
		   const char *prompt)
{
	*ed = (struct hmp_edit){.ops = ops, .opaque = opaque, .prompt = prompt};
}

void hmp_edit_fini(struct hmp_edit *ed)
{
	for (unsigned i = 0; i < ed->n_history; i++)
		free(ed->history[i]);
	ed->n_history = 0;
}

static void ed_remember(struct hmp_edit *ed)
{
	unsigned n = ed->n_history;

	if (!ed->len || (n && !strcmp(ed->history[n - 1], ed->line)))
		return;
	if (n == HMP_HISTORY) {
		free(ed->history[0]);
		memmove(ed->history, ed->history + 1, --n * sizeof(ed->history[0]));
	}
	ed->history[n] = xstrdup(ed->line);
	ed->n_history = n + 1;
}

static void ed_enter(struct hmp_edit *ed)
{
	char line[HMP_LINE];

	ed_puts(ed, "\r\n");
	ed_remember(ed);
	memcpy(line, ed->line, ed->len + 1);
	hmp_edit_clear(ed);
	ed->ops->line(ed->opaque, line);
}

static void ed_insert(struct hmp_edit *ed, const char *s, size_t n)
{
	if (n >= HMP_LINE - ed->len)
		return;
	memmove(ed->line + ed->pos + n, ed->line + ed->pos, ed->len - ed->pos + 1);
	memcpy(ed->line + ed->pos, s, n);
	ed->len += n;
	ed->pos += n;
	ed->ops->print(ed->opaque, ed->line + ed->pos - n, ed->len - ed->pos + n);
	ed_back(ed, ed->len - ed->pos);
}

/* Take out the bytes from `from` up to `to`, where the cursor goes. */
static void ed_cut(struct hmp_edit *ed, size_t from, size_t to)
{
	if (from >= to)
		return;
	memmove(ed->line + from, ed->line + to, ed->len - to + 1);
	ed->len -= to - from;
	ed->pos = from;
	hmp_edit_show(ed);
}

static void ed_move(struct hmp_edit *ed, size_t pos)
{
	if (pos > ed->len || pos == ed->pos)
		return;
	ed->pos = pos;
	hmp_edit_show(ed);
}

static void ed_history(struct hmp_edit *ed, int step)
{
	const char *s;

	if ((step < 0 && !ed->at) || (step > 0 && ed->at >= ed->n_history))
		return;
	ed->at += (unsigned)step;
	s = ed->at < ed->n_history ? ed->history[ed->at] : "";
	ed->len = ed->pos = strlen(s);
	memcpy(ed->line, s, ed->len + 1);
	hmp_edit_show(ed);
}

static size_t ed_word_start(const struct hmp_edit *ed)
{
	size_t p = ed->pos;

	while (p && ed->line[p - 1] == ' ')
		p--;
	while (p && ed->line[p - 1] != ' ')
		p--;
	return p;
}

/* --- completion --- */

static void found_count(struct hmp_edit *ed, const char *word)
{
	size_t i = 0;

	if (strncmp(word, ed->typed, ed->typed_len) || strlen(word) >= sizeof(ed->found))
		return;
	if (!ed->n_found++) {
		strcpy(ed->found, word);
		ed->common = strlen(word);
		return;
	}
	while (i < ed->common && ed->found[i] == word[i])
		i++;
	ed->common = i;
}

static void found_list(struct hmp_edit *ed, const char *word)
{
	if (strncmp(word, ed->typed, ed->typed_len))
		return;
	ed_puts(ed, word);
	ed_puts(ed, "  ");
}

static void ed_complete(struct hmp_edit *ed)
{
	size_t word = ed->pos;

	ed->n_found = 0;
	ed->typed = "";
	ed->typed_len = 0;
	ed->ops->complete(ed->opaque, ed->line, ed->pos, &word, found_count, ed);
	ed->typed = ed->line + word;
	ed->typed_len = ed->pos - word;
	ed->n_found = 0;
	ed->ops->complete(ed->opaque, ed->line, ed->pos, &word, found_count, ed);
	if (!ed->n_found)
		return;
	if (ed->common > ed->typed_len || ed->n_found == 1) {
		char rest[sizeof(ed->found) + 1];
		size_t n = ed->common - ed->typed_len;

		memcpy(rest, ed->found + ed->typed_len, n);
		if (ed->n_found == 1)
			rest[n++] = ' ';
		ed_insert(ed, rest, n);
		return;
	}
	ed_puts(ed, "\r\n");
	ed->ops->complete(ed->opaque, ed->line, ed->pos, &word, found_list, ed);
	ed_puts(ed, "\r\n");
	hmp_edit_show(ed);
}

/* --- keys --- */

static void ed_control(struct hmp_edit *ed, uint8_t c)
{
	switch (c) {
	case '\r':
	case '\n':
		ed_enter(ed);
		break;
	case '\t':
		ed_complete(ed);
		break;
	case '\b':
	case 127:
		ed_cut(ed, ed->pos ? ed->pos - 1 : 0, ed->pos);
		break;
	case CTRL('A'):
		ed_move(ed, 0);
		break;
	case CTRL('B'):
		ed_move(ed, ed->pos - 1);
		break;
	case CTRL('C'):
		ed_puts(ed, "\r\n");
		hmp_edit_clear(ed);
		hmp_edit_show(ed);
		break;
	case CTRL('D'):
		ed_cut(ed, ed->pos, min_u64(ed->pos + 1, ed->len));
		break;
	case CTRL('E'):
		ed_move(ed, ed->len);
		break;
	case CTRL('F'):
		ed_move(ed, ed->pos + 1);
		break;
	case CTRL('K'):
		ed_cut(ed, ed->pos, ed->len);
		break;
	case CTRL('L'):
		hmp_edit_show(ed);
		break;
	case CTRL('N'):
		ed_history(ed, 1);
		break;
	case CTRL('P'):
		ed_history(ed, -1);
		break;
	case CTRL('U'):
		ed_cut(ed, 0, ed->pos);
		break;
	case CTRL('W'):
		ed_cut(ed, ed_word_start(ed), ed->pos);
		break;
	case '\033':
		ed->state = EDIT_ESC;
		break;
	default:
		break;
	}
}

/* The last byte of a key's sequence (ECMA-48 5.4). */
static void ed_key(struct hmp_edit *ed, uint8_t c)
{
	ed->state = EDIT_PLAIN;
	switch (c) {
	case 'A':
		ed_history(ed, -1);
		break;
	case 'B':
		ed_history(ed, 1);
		break;
	case 'C':
		ed_move(ed, ed->pos + 1);
		break;
	case 'D':
		ed_move(ed, ed->pos - 1);
		break;
	case 'H':
		ed_move(ed, 0);
		break;
	case 'F':
		ed_move(ed, ed->len);
		break;
	case '~':
		if (ed->param == 1 || ed->param == 7)
			ed_move(ed, 0);
		else if (ed->param == 4 || ed->param == 8)
			ed_move(ed, ed->len);
		else if (ed->param == 3)
			ed_cut(ed, ed->pos, min_u64(ed->pos + 1, ed->len));
		break;
	default:
		break;
	}
}

static void ed_sequence(struct hmp_edit *ed, uint8_t c)
{
	if (ed->state == EDIT_ESC) {
		ed->param = 0;
		ed->state = c == '[' ? EDIT_CSI : c == 'O' ? EDIT_SS3 : EDIT_PLAIN;
	} else if (ed->state == EDIT_CSI && c >= '0' && c <= '9') {
		ed->param = (ed->param * 10 + c - '0') % 1000;
	} else if (ed->state == EDIT_CSI && c >= 0x20 && c < 0x40) {
		ed->param = 999; /* modifiers: a key we do not know */
	} else {
		ed_key(ed, c);
	}
}

void hmp_edit_put(struct hmp_edit *ed, uint8_t c)
{
	bool lf_of_crlf = c == '\n' && ed->last == '\r';
	char byte = (char)c;

	ed->last = c;
	if (lf_of_crlf)
		return;
	if (ed->state != EDIT_PLAIN)
		ed_sequence(ed, c);
	else if (c < ' ' || c == 127)
		ed_control(ed, c);
	else
		ed_insert(ed, &byte, 1);
}
