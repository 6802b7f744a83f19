# SPDX-License-Identifier: Apache-2.0
#
# All of a nested guest: the first sector of its first disk, started by the BIOS at 0000:7c00.
#
# For each disk it has, it reads sector 1 (512 bytes of text, ended by a zero), prints it on the first
# serial port, prints sector 2 where a boot before this one has written it, and writes sector 1 there:
#
#   disk 0: TEXT
#   disk 0: kept TEXT      not at the first boot
#   disk 0: written        or read-only
#   up
#
# Then it halts and stays. So who reads the serial port knows that the guest saw the disk's text, and
# who looks at the image what its writes have become.
        .code16
        .globl _start
_start:
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    $_start, %sp
        cld

each_disk:
        movw    $1, sector
        movb    $0x42, %ah              # extended read
        call    transfer
        jc      no_more
        movw    $empty, %bx
        movw    $buffer, %di
        call    print_line
        movw    $2, sector
        movw    $earlier, address
        movb    $0x42, %ah
        call    transfer
        jc      no_more
        cmpb    $0, earlier
        je      1f
        movw    $kept, %bx
        movw    $earlier, %di
        call    print_line
1:      movw    $buffer, address
        movw    $0x4300, %ax            # extended write, without verify
        call    transfer
        movw    $written, %di
        jnc     1f
        movw    $read_only, %di
1:      movw    $empty, %bx
        call    print_line
        incb    drive
        jmp     each_disk

no_more:
        movw    $up, %si
        call    print
        call    print_end
1:      sti
        hlt
        jmp     1b

transfer:                               # the operation is in ah; carry is set on failure
        movw    $address_packet, %si
        movb    drive, %dl
        int     $0x13
        ret

print_line:                             # "disk N: ", the text at bx, that at di
        movw    $disk, %si
        call    print
        movb    drive, %al
        subb    $0x80 - '0', %al
        call    print_character
        movw    $colon, %si
        call    print
        movw    %bx, %si
        call    print
        movw    %di, %si
        call    print
print_end:
        movb    $'\n', %al
        jmp     print_character

print:                                  # from si to a zero
        lodsb
        testb   %al, %al
        jz      1f
        call    print_character
        jmp     print
1:      ret

print_character:
        movw    $0x3f8, %dx
        outb    %al, %dx
        ret

disk:           .asciz "disk "
colon:          .asciz ": "
empty:          .asciz ""
kept:           .asciz "kept "
written:        .asciz "written"
read_only:      .asciz "read-only"
up:             .asciz "up"
drive:          .byte 0x80
        .balign 4
address_packet: .byte 16, 0
                .word 1                 # sector
address:        .word buffer, 0         # offset and segment
sector:         .long 1, 0
        .set    buffer, 0x8000
        .set    earlier, 0x8200
        .org    510
        .word   0xaa55
