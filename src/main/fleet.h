/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Commands about machines that run: each takes its command line (argv[0] is its own name) and
 * returns the exit status. */
int fleet_ps(int argc, char **argv);
int fleet_top(int argc, char **argv);
int fleet_console(int argc, char **argv);
int fleet_stop(int argc, char **argv);
int fleet_qmp(int argc, char **argv);
