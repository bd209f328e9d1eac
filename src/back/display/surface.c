/* SPDX-License-Identifier: Apache-2.0 */
/* Surfaces, and the list of displays. */
#include <stdlib.h>
#include <string.h>
#include "back/display/display.h"
#include "base/base.h"

void surface_resize(struct surface *s, unsigned width, unsigned height)
{
	bug_on(!width || width > SURFACE_MAX_WIDTH || !height || height > SURFACE_MAX_HEIGHT);
	if (s->width == width && s->height == height)
		return;
	surface_free(s);
	s->width = width;
	s->height = height;
	s->pixels = xcalloc((size_t)width * height, sizeof(*s->pixels));
	s->dirty = xcalloc(height, sizeof(*s->dirty));
	memset(s->dirty, 1, height);
}

void surface_row(struct surface *s, unsigned y, const uint32_t *pixels)
{
	uint32_t *row = s->pixels + (size_t)y * s->width;
	size_t size = s->width * sizeof(*row);

	bug_on(y >= s->height);
	if (!memcmp(row, pixels, size))
		return;
	memcpy(row, pixels, size);
	s->dirty[y] = 1;
}

void surface_clean(struct surface *s)
{
	if (s->dirty)
		memset(s->dirty, 0, s->height);
}

void surface_free(struct surface *s)
{
	free(s->pixels);
	free(s->dirty);
	*s = (struct surface){0};
}

void display_add(struct display **list, struct display *d)
{
	while (*list)
		list = &(*list)->next;
	d->next = NULL;
	*list = d;
}

void display_remove(struct display **list, struct display *d)
{
	for (; *list; list = &(*list)->next) {
		if (*list != d)
			continue;
		*list = d->next;
		return;
	}
}

struct display *display_find(struct display *list, const char *id)
{
	while (list && id && strcmp(list->id, id))
		list = list->next;
	return list;
}
