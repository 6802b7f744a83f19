# SPDX-License-Identifier: Apache-2.0
#
# A nested guest that goes on writing: the first sector of its disk, as ../boot_sector.S.
#
# About twice a second it reads the text in sector 1 and the number in sector 2, adds one to the number and
# writes it back, and prints both on the first serial port:
#
#   TEXT 002a
#
# It remembers the number it has written.  When the disk gives back another one, or fails, it prints "lost" and
# halts: so each line says that memory and disk are those of one guest.
        .code16
        .globl _start
_start:
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    $_start, %sp
        cld
        movb    %dl, drive

        movw    $2, sector              # what an earlier boot has left
        movw    $number, address
        call    read
        movw    number, %ax
        movw    %ax, remembered

again:
        movw    $1, sector
        movw    $text, address
        call    read
        movw    $2, sector
        movw    $number, address
        call    read
        movw    number, %ax
        cmpw    remembered, %ax
        jne     lost
        incw    number
        incw    remembered
        movw    $0x4300, %ax            # extended write, without verify
        call    transfer

        movw    $text, %si
        call    print
        movb    $' ', %al
        call    print_character
        movw    number, %bx
        movw    $4, %cx
1:      rolw    $4, %bx
        movb    %bl, %al
        andb    $15, %al
        addb    $'0', %al
        cmpb    $'9', %al
        jbe     2f
        addb    $'a' - '9' - 1, %al
2:      call    print_character
        loop    1b
        movb    $'\n', %al
        call    print_character

        movw    $9, %cx                 # ticks of the BIOS, 18.2 a second
3:      sti
        hlt
        loop    3b
        jmp     again

lost:
        movw    $lost_line, %si
        call    print
4:      hlt
        jmp     4b

read:
        movb    $0x42, %ah              # extended read
transfer:
        movw    $address_packet, %si
        movb    drive, %dl
        int     $0x13
        jc      lost
        ret

print:                                  # from si to a zero
        lodsb
        testb   %al, %al
        jz      5f
        call    print_character
        jmp     print
5:      ret

print_character:
        movw    $0x3f8, %dx
        outb    %al, %dx
        ret

lost_line:      .asciz "lost\n"
drive:          .byte 0
remembered:     .word 0
        .balign 4
address_packet: .byte 16, 0
                .word 1                 # sector
address:        .word 0, 0              # offset and segment
sector:         .long 1, 0
        .set    text, 0x8000
        .set    number, 0x8200
        .org    510
        .word   0xaa55
