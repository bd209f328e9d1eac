/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* doppel_main - the whole program: `doppel COMMAND ...`, or the QEMU dialect when argv[0] ends in
 * "-system-x86_64".  Returns the process's exit status. */
int doppel_main(int argc, char **argv);
