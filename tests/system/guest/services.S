/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A boot sector that uses what a BIOS offers: INT 13h for the disk, INT 10h for the screen, INT 16h
 * for the keyboard, INT 1Ah for time.  It tells COM1 and port 0x402: a line for each group, and at
 * the end "services ok" or "services failed at XX" with the number of the check.
 *
 *   sector 0     loads sectors 1-4, in one piece, by an extended read (AH=42h)
 *   sectors 1-4  the checks, at 0x7e00
 *   sector 9     written
 *
 * Byte 0x1f0 of sector 0 tells what to expect: bit 0 a screen in text mode 3; bit 1 a key is to
 * come ("press" is printed): its character and scan code are told.
 *
 * Built with gcc -m32 -nostdlib -Wl,-Ttext=0x7c00,--oformat=binary, and made a disk by who does so.
 */
	.code16
	.globl _start

	.set BUF, 0x9000		/* 512 bytes */
	.set SCRATCH, 9			/* the sector that is written */

	.macro expect number, bad
	movb	$\number, check
	\bad	failed
	.endm

_start:
	ljmp	$0, $1f
1:	xorw	%ax, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movw	$0x7c00, %sp
	sti
	cld
	movb	%dl, drive
	movb	$0x41, %ah		/* extensions are there */
	movw	$0x55aa, %bx
	int	$0x13
	expect	0x01, jc
	cmpw	$0xaa55, %bx
	expect	0x02, jne
	movb	$0x42, %ah
	movb	drive, %dl
	movw	$packet, %si
	int	$0x13
	expect	0x03, jc
	cmpw	$0x6b6f, magic
	expect	0x04, jne
	jmp	stage2

failed:
	movw	$text_failed, %si
	call	print
	movb	check, %al
	shrb	$4, %al
	call	digit
	movb	check, %al
	call	digit
	movb	$'\n', %al
	call	put
hang:	hlt
	jmp	hang

digit:
	andb	$15, %al
	addb	$'0', %al
	cmpb	$'9', %al
	jbe	put
	addb	$'a' - '9' - 1, %al
	/* fall through */
/* put - the character in AL. */
put:
	pushw	%dx
	pushw	%ax
	movw	$0x3fd, %dx
1:	inb	%dx, %al
	testb	$0x20, %al
	jz	1b
	popw	%ax
	movw	$0x3f8, %dx
	outb	%al, %dx
	movw	$0x402, %dx
	outb	%al, %dx
	popw	%dx
	ret

print:
	lodsb
	testb	%al, %al
	jz	1f
	call	put
	jmp	print
1:	ret

check:	.byte 0
drive:	.byte 0
text_failed: .asciz "services failed at "
	.balign 4
packet:	.byte 16, 0
	.word 4
	.word 0x7e00, 0
	.quad 1

	.org 0x1f0
what:	.byte 1
	.org 0x1fe
	.word 0xaa55

/* Sector 1. */
magic:	.word 0x6b6f
stage2:
	call	disk
	movw	$text_disk, %si
	call	print
	call	screen
	call	clock
	movw	$text_clock, %si
	call	print
	call	keyboard
	movw	$text_ok, %si
	call	print
	jmp	hang

/* INT 13h. */
disk:
	movb	$0x00, %ah		/* reset */
	movb	drive, %dl
	int	$0x13
	expect	0x10, jc
	movb	$0x08, %ah		/* geometry */
	movb	drive, %dl
	int	$0x13
	expect	0x11, jc
	movw	%cx, %ax
	andw	$0x3f, %ax
	expect	0x12, jz
	movw	%ax, sectors
	xorw	%ax, %ax
	movw	%ax, %es
	movb	$0x15, %ah		/* kind of disk: fixed */
	movb	drive, %dl
	int	$0x13
	expect	0x13, jc
	cmpb	$3, %ah
	expect	0x14, jne
	/* Sector 2 of the track is LBA 1, which is here. */
	movw	$0x0201, %ax
	movw	$0x0002, %cx
	call	chs
	expect	0x15, jc
	movw	$magic, %si
	call	compare
	expect	0x16, jne
	/* Write a pattern by CHS, read it by LBA; the other way round. */
	movw	$0x5a01, %ax
	call	fill
	movw	$0x0301, %ax
	movw	$SCRATCH + 1, %cx
	call	chs
	expect	0x17, jc
	call	wipe
	movb	$0x42, %ah
	call	lba
	expect	0x18, jc
	movw	$0x5a01, %ax
	call	same
	expect	0x19, jne
	movw	$0x1234, %ax
	call	fill
	movw	$0x4300, %ax
	call	lba
	expect	0x1a, jc
	call	wipe
	movw	$0x0201, %ax
	movw	$SCRATCH + 1, %cx
	call	chs
	expect	0x1b, jc
	movw	$0x1234, %ax
	call	same
	expect	0x1c, jne
	/* Parameters: 512-byte sectors, as many as there are. */
	movw	$30, BUF
	movb	$0x48, %ah
	movb	drive, %dl
	movw	$BUF, %si
	int	$0x13
	expect	0x1d, jc
	cmpw	$512, BUF + 24
	expect	0x1e, jne
	movl	BUF + 16, %eax
	movl	%eax, packet2 + 8	/* one behind the last */
	movb	$0x42, %ah
	call	lba
	expect	0x1f, jnc
	movl	$SCRATCH, packet2 + 8
	movb	$0x44, %ah		/* verify */
	call	lba
	expect	0x20, jc
	ret

/* chs - AX and CX given: head 0, to or from BUF. */
chs:
	movw	$BUF, %bx
	movb	drive, %dl
	movb	$0, %dh
	int	$0x13
	ret

/* lba - AH given: packet2, to or from BUF. */
lba:
	movw	$packet2, %si
	movb	drive, %dl
	int	$0x13
	ret

fill:
	movw	$BUF, %di
	movw	$256, %cx
1:	stosw
	addw	$0x1357, %ax
	loop	1b
	ret

/* same - is what fill makes of AX in BUF? */
same:
	movw	$BUF, %di
	movw	$256, %cx
1:	scasw
	jne	2f
	addw	$0x1357, %ax
	loop	1b
	cmpw	%ax, %ax
2:	ret

wipe:
	xorw	%ax, %ax
	movw	$BUF, %di
	movw	$256, %cx
	rep stosw
	ret

compare:
	movw	$BUF, %di
	movw	$256, %cx
	repe cmpsw
	ret

/* INT 10h. */
screen:
	testb	$1, what
	jz	1f
	movb	$0x0f, %ah		/* mode 3: 80 columns */
	int	$0x10
	cmpw	$0x5003, %ax
	expect	0x30, jne
	movw	$0x0003, %ax		/* set it: the screen is clear, the cursor home */
	int	$0x10
	call	cursor
	testw	%dx, %dx
	expect	0x31, jnz
	movb	$0x02, %ah		/* cursor to row 5, column 10 */
	movw	$0x050a, %dx
	movb	$0, %bh
	int	$0x10
	call	cursor
	cmpw	$0x050a, %dx
	expect	0x32, jne
	movw	$0x0941, %ax		/* three times A, white on blue */
	movw	$0x001f, %bx
	movw	$3, %cx
	int	$0x10
	movb	$0x08, %ah
	movb	$0, %bh
	int	$0x10
	cmpw	$0x1f41, %ax
	expect	0x33, jne
	movw	$0xb800, %ax		/* in the frame buffer, too */
	movw	%ax, %fs
	cmpw	$0x1f41, %fs:2 * (5 * 80 + 12)
	expect	0x34, jne
	movw	$0x0e42, %ax		/* teletype moves the cursor */
	movw	$0x0007, %bx
	int	$0x10
	call	cursor
	cmpw	$0x050b, %dx
	expect	0x35, jne
	movw	$0x1301, %ax		/* a string, and the cursor behind it */
	movw	$0x0007, %bx
	movw	$5, %cx
	movw	$0x0700, %dx
	movw	$text_screen, %bp
	int	$0x10
	call	cursor
	cmpw	$0x0705, %dx
	expect	0x36, jne
	movw	$0x0601, %ax		/* scroll up by one row */
	movb	$0x07, %bh
	movw	$0, %cx
	movw	$0x184f, %dx
	int	$0x10
	cmpw	$0x1f41, %fs:2 * (4 * 80 + 12)
	expect	0x37, jne
	movw	$text_screen, %si
	call	print
1:	ret

cursor:
	movb	$0x03, %ah
	movb	$0, %bh
	int	$0x10
	ret

/* INT 1Ah: the count of ticks goes on; INT 12h: memory below 640 KiB. */
clock:
	int	$0x12
	cmpw	$512, %ax
	expect	0x40, jb
	movb	$0x00, %ah
	int	$0x1a
	movw	%dx, %bx
1:	hlt
	movb	$0x00, %ah
	int	$0x1a
	cmpw	%dx, %bx
	je	1b
	ret

/* INT 16h. */
keyboard:
	movb	$0x02, %ah		/* no shift key is down */
	int	$0x16
	testb	$0x0f, %al
	expect	0x50, jnz
	movb	$0x01, %ah		/* no key waits */
	int	$0x16
	expect	0x51, jnz
	testb	$2, what
	jz	1f
	movw	$text_press, %si
	call	print
	movb	$0x00, %ah		/* one comes */
	int	$0x16
	pushw	%ax
	movw	$text_key, %si
	call	print
	popw	%ax
	pushw	%ax
	call	put
	popw	%ax
	movb	%ah, %al
	pushw	%ax
	shrb	$4, %al
	call	digit
	popw	%ax
	call	digit
	movb	$'\n', %al
	call	put
1:	movw	$text_keyboard, %si
	call	print
	ret

sectors: .word 0
	.balign 4
packet2: .byte 16, 0
	.word 1
	.word BUF, 0
	.quad SCRATCH
text_disk: .asciz "disk\n"
text_screen: .asciz "video\n"
text_clock: .asciz "clock\n"
text_press: .asciz "press\n"
text_key: .asciz "key "
text_keyboard: .asciz "keyboard\n"
text_ok: .asciz "services ok\n"
	.org 512 * 5
