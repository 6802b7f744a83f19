# SPDX-License-Identifier: Apache-2.0
#
# The firmware of the nested guests: 64 KiB at the end of the first MiB and of the first 4 GiB.
#
# Here, where each instruction is emulated twice, SeaBIOS takes most of what a start costs. This one has what
# boot_sector.S needs: the virtio disks (bus 0, in the order of their slots, the first 8) become drives 0x80
# and so on for int 0x13, extended read and write of one sector; the first sector of the first disk is
# started at 0000:7c00. Interrupts stay masked.
#
# Virtual I/O Device (VIRTIO) 1.1, section 4.1.4.8: the legacy interface, registers in I/O space.
        .code16
        .globl _start

        .set    vendor_and_device, 0x10011af4   # a transitional block device
        .set    drives, 0x500                   # in segment 0
        .set    operation, 0x501
        .set    ports, 0x510                    # of each drive
        .set    queue_sizes, 0x530
        .set    memory, 0x8000                  # a drive's, all in a segment of its own
        .set    header, 0x7800                  # behind its queue, which has room for 1024 descriptors:
        .set    status, 0x7810                  # the legacy interface takes what the device says, in QEMU 10 that

_start:
        cli
        cld
        movb    $0xff, %al
        outb    %al, $0x21
        outb    %al, $0xa1
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %ss
        movw    $0x7000, %sp
        movb    $0, drives
        movw    $int13, 4 * 0x13
        movw    %cs, 4 * 0x13 + 2

        movl    $0x80000000, %ebx
1:      call    look_at_slot
        addl    $1 << 11, %ebx
        cmpl    $0x80000000 + (32 << 11), %ebx
        jne     1b

        movw    $boot_packet, %si
        pushw   %cs
        popw    %ds
        movb    $0x42, %ah
        movb    $0x80, %dl
        int     $0x13
        jc      stop
        ljmp    $0, $0x7c00
stop:   hlt
        jmp     stop

# The PCI slot whose address is ebx: register al is selected, and its port is in dx.
select: movl    %ebx, %edx
        movb    %al, %dl
        movl    %edx, %eax
        movw    $0xcf8, %dx
        outl    %eax, %dx
        movw    $0xcfc, %dx
        ret

look_at_slot:
        movb    $0, %al
        call    select
        inl     %dx, %eax
        cmpl    $vendor_and_device, %eax
        jne     1f
        cmpb    $8, drives
        je      1f
        movzbw  drives, %di
        incb    drives

        movw    %di, %cx                # its registers: 0xc000 and so on
        shlw    $8, %cx
        addw    $0xc000, %cx
        movb    $0x10, %al
        call    select
        movzwl  %cx, %eax
        outl    %eax, %dx
        movb    $4, %al                 # on, and master of the bus
        call    select
        movl    $5, %eax
        outl    %eax, %dx

        movw    %di, %ax                # its queue: 1000:0000, 1800:0000 and so on
        shlw    $11, %ax
        addw    $0x1000, %ax
        movw    %ax, %es
        addw    %di, %di
        movw    %cx, ports(%di)
        pushw   %di
        call    start_queue
        popw    %di
1:      ret

start_queue:                            # of the drive 2 di, ports from cx, memory es
        leaw    0x12(%ecx), %dx         # status: reset, so that nothing reads what is cleared next
        xorl    %eax, %eax
        outb    %al, %dx
1:      inb     %dx, %al
        testb   %al, %al
        jnz     1b
        xorw    %di, %di
        pushw   %cx
        movw    $memory / 4, %cx
        rep stosl
        popw    %cx
        movb    $3, %al                 # a driver is there
        outb    %al, %dx
        leaw    4(%ecx), %dx            # no features
        movb    $0, %al
        outl    %eax, %dx
        leaw    0x0e(%ecx), %dx         # the first queue
        outw    %ax, %dx
        leaw    0x0c(%ecx), %dx
        inw     %dx, %ax
        movw    %sp, %bp
        movw    2(%bp), %di
        cmpw    $1024, %ax
        ja      stop
        movw    %ax, queue_sizes(%di)
        xorl    %eax, %eax
        movw    %es, %ax
        shrw    $8, %ax                 # its page
        leaw    8(%ecx), %dx
        outl    %eax, %dx
        leaw    0x12(%ecx), %dx         # go
        movb    $7, %al
        outb    %al, %dx
        ret

int13:
        pushaw
        pushw   %ds
        pushw   %es
        movw    %sp, %bp
        movl    8(%si), %ecx            # sector
        movzwl  6(%si), %ebx            # buffer
        shll    $4, %ebx
        movzwl  4(%si), %edi
        addl    %edi, %ebx
        xorw    %di, %di
        movw    %di, %ds
        movb    %ah, operation
        subb    $0x80, %dl
        cmpb    drives, %dl
        jae     failed
        movzbw  %dl, %di
        movw    %di, %ax
        shlw    $11, %ax
        addw    $0x1000, %ax
        movw    %ax, %es
        addw    %di, %di
        movw    queue_sizes(%di), %si

        xorl    %eax, %eax
        cmpb    $0x43, operation
        sete    %al
        movl    %eax, %es:header        # 1 writes
        movl    %ecx, %es:header + 8
        movb    $0xff, %es:status

        movw    %es, %cx
        movzwl  %cx, %ecx
        shll    $4, %ecx
        addl    $header, %ecx
        movl    %ecx, %es:0
        movl    $16, %es:8
        movl    $0x10001, %es:12        # one comes next, it is 1
        movl    %ebx, %es:16
        movl    $512, %es:24
        xorb    $1, %al
        addb    %al, %al                # 2: the device fills it
        addb    $1, %al
        addl    $0x20000, %eax
        movl    %eax, %es:28
        addl    $status - header, %ecx
        movl    %ecx, %es:32
        movl    $1, %es:40
        movl    $2, %es:44

        movw    %si, %bx                # descriptor 0 is available once more
        shlw    $4, %bx
        movw    $1, %es:(%bx)
        incw    %es:2(%bx)
        movw    %es:2(%bx), %cx
        leaw    6 + 4095(%ebx, %esi, 2), %bx
        andw    $0xf000, %bx
        movw    ports(%di), %dx
        addw    $0x10, %dx
        xorw    %ax, %ax
        outw    %ax, %dx
1:      pause
        cmpw    %cx, %es:2(%bx)         # used
        jne     1b
        cmpb    $0, %es:status
        jne     failed
        andb    $0xfe, 24(%bp)          # carry, in the flags that iret restores
        jmp     2f
failed: orb     $1, 24(%bp)
2:      popw    %es
        popw    %ds
        popaw
        iret

        .balign 4
boot_packet:
        .byte   16, 0
        .word   1                       # sector
        .word   0x7c00, 0               # offset and segment
        .long   0, 0

        .org    0xfff0
        ljmp    $0xf000, $_start
        .org    0x10000
