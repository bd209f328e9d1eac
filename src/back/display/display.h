/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What a guest shows.  An adapter (VGA, ...) enters itself as a display; whoever wants to see it (a
 * screen dump, a server of remote screens) has it drawn into a surface, which remembers which of
 * its rows changed.  All calls with the machine's device lock held, except those on files.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

/* Pixels are 0x00RRGGBB, a row after the other. */
struct surface {
	unsigned width, height; /* 0: nothing was drawn yet */
	uint32_t *pixels; /* width * height */
	uint8_t *dirty; /* height: the row changed since surface_clean */
};

/* Larger ones are not drawn: a guest chooses the size. */
#define SURFACE_MAX_WIDTH 8192u
#define SURFACE_MAX_HEIGHT 8192u

/* surface_resize - pixels of a new size are black and dirty; the same size: nothing happens. */
void surface_resize(struct surface *s, unsigned width, unsigned height);
/* surface_row - take over one row of `width` pixels, which is dirty if it differs. */
void surface_row(struct surface *s, unsigned y, const uint32_t *pixels);
void surface_clean(struct surface *s);
void surface_free(struct surface *s);

struct display_ops {
	/* Draw what is shown now: surface_resize, then every row by surface_row. */
	void (*draw)(void *opaque, struct surface *s);
	/* What firmware does to an adapter before it starts anything: text of 80 columns and 25
	 * rows. NULL: it has no text. */
	void (*text_mode)(void *opaque);
};

struct display {
	const struct display_ops *ops;
	void *opaque;
	const char *id; /* of the device; "" when it has none */
	struct display *next;
};

/* display_add - `d` (all but next filled in) goes to the end of a list; it stays its owner's, who
 * calls display_remove. */
void display_add(struct display **list, struct display *d);
void display_remove(struct display **list, struct display *d);
/* display_find - by device id; NULL: the first.  NULL when there is none. */
struct display *display_find(struct display *list, const char *id);

/* Files.  surface_write - the picture as a file (replaced if it exists): 0, or -errno with *e, and
 * then no file is left.  No lock is needed if nobody else has the surface. */
enum picture { PICTURE_PPM, PICTURE_PNG };
int surface_write(const struct surface *s, const char *path, enum picture form, struct err **e);
