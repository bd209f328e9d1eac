/* SPDX-License-Identifier: Apache-2.0 */
/* A fault while a double fault is delivered shuts the processor down (SDM 3A 6.15). */
/* bm: bits=64 end=dead */
#include "bm.h"

RAW_SNIPPET(s_ud2, "ud2");

void image_main(void)
{
	bm_print("dying\n");
	idt_load(0);
	run_k(s_ud2);
	check("not reached", false);
}
