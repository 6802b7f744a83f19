# SPDX-License-Identifier: Apache-2.0
#
# All of a nested guest: the first sector of its first disk, started by the BIOS at 0000:7c00.
#
# For each disk it has, it reads sector 1 (512 bytes of text, ended by a zero), prints it on the first
# serial port and writes it back to sector 2:
#
#   disk 0: TEXT
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
        call    print_disk
        movw    $buffer, %si
        call    print
        call    print_end
        call    print_disk
        movw    $2, sector
        movw    $0x4300, %ax            # extended write, without verify
        call    transfer
        movw    $written, %si
        jnc     1f
        movw    $read_only, %si
1:      call    print
        call    print_end
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

print_disk:
        movw    $disk, %si
        call    print
        movb    drive, %al
        subb    $0x80 - '0', %al
        call    print_character
        movw    $colon, %si
print:                                  # from si to a zero
        lodsb
        testb   %al, %al
        jz      1f
        call    print_character
        jmp     print
1:      ret

print_end:
        movb    $'\n', %al
print_character:
        movw    $0x3f8, %dx
        outb    %al, %dx
        ret

disk:           .asciz "disk "
colon:          .asciz ": "
written:        .asciz "written"
read_only:      .asciz "read-only"
up:             .asciz "up"
drive:          .byte 0x80
        .balign 4
address_packet: .byte 16, 0
                .word 1, buffer, 0      # one sector, to 0000:buffer
sector:         .long 1, 0
        .set    buffer, 0x8000
        .org    510
        .word   0xaa55
