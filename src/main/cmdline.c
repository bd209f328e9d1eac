/* SPDX-License-Identifier: Apache-2.0 */
#include "main/cmdline.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/base.h"
#include "base/err.h"

struct opt {
	const char *dialect, *friendly, *arg;
	int (*handler)(struct cmdline *c, const struct cmd_use *use, struct err **e);
	const char *help;
};

static const struct opt opts[] = {
#define OPT(dialect_, friendly_, arg_, handler_, help_) \
	{dialect_, friendly_, arg_, handler_, help_},
#include "main/options.def"
#undef OPT
};

const char *cmdline_option(unsigned i)
{
	if (i >= ARRAY_SIZE(opts))
		return NULL;
	return opts[i].dialect ? opts[i].dialect : "";
}

const char *cmdline_own(struct cmdline *c, char *s)
{
	c->owned = xrealloc(c->owned, (c->n_owned + 1) * sizeof(*c->owned));
	c->owned[c->n_owned++] = s;
	return s;
}

void cmd_blame(struct err **e, const struct cmd_use *use)
{
	if (use->arg)
		err_prefix(e, "%s %s", use->opt, use->arg);
	else
		err_prefix(e, "%s", use->opt);
}

void cmd_list_add(struct cmd_list *l, struct cmd_use use)
{
	l->use = xrealloc(l->use, (l->n + 1) * sizeof(*l->use));
	l->use[l->n++] = use;
}

void cmdline_free(struct cmdline *c)
{
	struct cmd_list *lists[] = {&c->serials,   &c->chardevs, &c->devices, &c->globals,
				    &c->data_dirs, &c->monitors, &c->drives,  &c->blockdevs,
				    &c->netdevs,   &c->nics,	 &c->fsdevs,  &c->virtfs,
				    &c->objects,   &c->volumes,	 &c->fw_cfgs,   &c->smbios,	&c->ssh_keys};

	for (size_t i = 0; i < c->n_owned; i++)
		free(c->owned[i]);
	free(c->owned);
	free(c->firmware_dirs);
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
		free(lists[i]->use);
	free((void *)c->cfg.devices);
	*c = (struct cmdline){0};
}

/* The friendly form has its own names and, where they do not clash, the dialect's too. */
static const struct opt *opt_find(const char *name, bool friendly)
{
	for (size_t i = 0; friendly && i < ARRAY_SIZE(opts); i++)
		if (opts[i].friendly && !strcmp(opts[i].friendly, name))
			return &opts[i];
	for (size_t i = 0; i < ARRAY_SIZE(opts); i++)
		if (opts[i].dialect && !strcmp(opts[i].dialect, name))
			return &opts[i];
	return NULL;
}

/* Handle argv[*i], and its argument; *i moves to the last word used. */
static int cmdline_word(struct cmdline *c, int argc, char **argv, int *i, struct err **e)
{
	struct cmd_use use = {.opt = argv[*i]};
	const char *name = use.opt + 1, *eq = NULL;
	const struct opt *o;
	int r;

	if (use.opt[0] != '-')
		return opt_disk(c, &use, e);
	if (*name == '-') {
		name++;
		eq = c->friendly ? strchr(name, '=') : NULL;
	}
	if (eq) { /* --name=value */
		name = cmdline_own(c, xasprintf("%.*s", (int)(eq - name), name));
		use.opt = cmdline_own(c, xasprintf("--%s", name));
		use.arg = eq + 1;
	}
	o = opt_find(name, c->friendly);
	if (!o)
		return err_set(e, EINVAL, "%s: invalid option", use.opt);
	if (o->arg && !eq) {
		if (*i + 1 >= argc)
			return err_set(e, EINVAL, "%s: requires an argument", use.opt);
		use.arg = argv[++*i];
	} else if (!o->arg && eq) {
		return err_set(e, EINVAL, "%s: takes no argument", use.opt);
	}
	r = o->handler(c, &use, e);
	if (r < 0)
		cmd_blame(e, &use);
	return r;
}

int cmdline_parse(struct cmdline *c, const char *prog, bool friendly, int argc, char **argv,
		  struct err **e)
{
	*c = (struct cmdline){.prog = prog, .friendly = friendly};
	for (int i = 1; i < argc; i++) {
		int r = cmdline_word(c, argc, argv, &i, e);

		if (r != CMD_RUN)
			return r;
	}
	return cmdline_check(c, e);
}

#define HELP_INDENT 26
#define HELP_WIDTH 96

/* Words of text from column HELP_INDENT on, in lines of at most HELP_WIDTH. */
static void help_text(const char *text)
{
	int column = HELP_INDENT;

	for (const char *p = text; *p;) {
		int len = (int)strcspn(p, " ");

		if (column + len > HELP_WIDTH && column > HELP_INDENT) {
			printf("\n%*s", HELP_INDENT, "");
			column = HELP_INDENT;
		}
		column += printf("%.*s%s", len, p, p[len] ? " " : "");
		p += len + (p[len] == ' ');
	}
	putchar('\n');
}

static void help_row(const char *dash, const char *name, const struct opt *o)
{
	int n = printf("%s%s%s%s", dash, name, o->arg ? " " : "", o->arg ? o->arg : "");

	printf(n < HELP_INDENT ? "%*s" : "\n%*s", n < HELP_INDENT ? HELP_INDENT - n : HELP_INDENT,
	       "");
	help_text(o->help);
}

int opt_help(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	if (c->friendly)
		printf("Usage: doppel run [OPTION]...\n"
		       "Run a virtual machine in this terminal. Options of doppel-system-x86_64 "
		       "work "
		       "too.\n\n");
	else
		printf("doppel %s, with the command line of QEMU 7.2\n"
		       "Usage: %s [OPTION]...\n\n",
		       DOPPEL_VERSION, c->prog);
	for (size_t i = 0; i < ARRAY_SIZE(opts); i++) {
		const char *name = c->friendly ? opts[i].friendly : opts[i].dialect;

		if (name)
			help_row(c->friendly && name[1] ? "--" : "-", name, &opts[i]);
	}
	return CMD_DONE;
}

int opt_version(struct cmdline *c, const struct cmd_use *use, struct err **e)
{
	if (c->friendly) /* tools look for the other line to learn which options exist */
		printf("doppel %s\n", DOPPEL_VERSION);
	else
		printf("QEMU emulator version 7.2.0 (doppel %s)\n", DOPPEL_VERSION);
	return CMD_DONE;
}
