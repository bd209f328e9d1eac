/* SPDX-License-Identifier: Apache-2.0 */
#include "main/main.h"

int main(int argc, char **argv)
{
	return doppel_main(argc, argv);
}
