/* SPDX-License-Identifier: Apache-2.0 */
/* Screen dumps: PPM (8 bits a channel) and PNG by libpng. */
#include <errno.h>
#include <fcntl.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "back/display/display.h"
#include "base/base.h"
#include "base/err.h"

static void row_rgb(const struct surface *s, unsigned y, uint8_t *rgb)
{
	const uint32_t *p = s->pixels + (size_t)y * s->width;

	for (unsigned x = 0; x < s->width; x++) {
		*rgb++ = (uint8_t)(p[x] >> 16);
		*rgb++ = (uint8_t)(p[x] >> 8);
		*rgb++ = (uint8_t)p[x];
	}
}

/* What a file could not take shows in ferror at the end. */
static void write_ppm(const struct surface *s, FILE *f, uint8_t *rgb)
{
	fprintf(f, "P6\n%u %u\n255\n", s->width, s->height);
	for (unsigned y = 0; y < s->height; y++) {
		row_rgb(s, y, rgb);
		fwrite(rgb, 3, s->width, f);
	}
}

static int png_rows(png_structp png, png_infop info, const struct surface *s, FILE *f, uint8_t *rgb)
{
	if (setjmp(png_jmpbuf(png)))
		return -EIO;
	png_init_io(png, f);
	png_set_IHDR(png, info, s->width, s->height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
		     PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
	png_set_compression_level(png, 3);
	png_write_info(png, info);
	for (unsigned y = 0; y < s->height; y++) {
		row_rgb(s, y, rgb);
		png_write_row(png, rgb);
	}
	png_write_end(png, NULL);
	return 0;
}

static void png_quiet(png_structp png, png_const_charp message)
{
}

static void png_failed(png_structp png, png_const_charp message)
{
	png_longjmp(png, 1);
}

static int write_png(const struct surface *s, FILE *f, uint8_t *rgb)
{
	png_structp png =
		png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, png_failed, png_quiet);
	png_infop info = png ? png_create_info_struct(png) : NULL;
	int r = info ? png_rows(png, info, s, f, rgb) : -ENOMEM;

	png_destroy_write_struct(&png, &info);
	return r;
}

int surface_write(const struct surface *s, const char *path, enum picture form, struct err **e)
{
	/* A pipe that nobody reads must not hold up the caller. */
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK, 0666);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "wb");
	struct stat st;
	uint8_t *rgb;
	int r = 0;

	if (!f)
		return err_set(e, errno, "cannot write '%s': %s", path, strerror(errno));
	rgb = xcalloc(s->width + 1, 3);
	errno = 0;
	if (form == PICTURE_PNG)
		r = write_png(s, f, rgb);
	else
		write_ppm(s, f, rgb);
	if (!r && (fflush(f) || ferror(f)))
		r = errno ? -errno : -EIO;
	else if (r == -EIO && errno)
		r = -errno;
	if (fclose(f) && !r)
		r = -errno;
	free(rgb);
	if (!r)
		return 0;
	if (!lstat(path, &st) && S_ISREG(st.st_mode))
		unlink(path);
	return err_set(e, -r, "cannot write '%s': %s", path, strerror(-r));
}
