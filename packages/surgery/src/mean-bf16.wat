;; The mean of two bfloat16 arrays, 8 elements at a time.
;;
;;   in   a at byte 0, b at byte 65536: elements of 16 bits, little-endian
;;   out  at byte 131072: (a + b) / 2, rounded to f32 and then to bfloat16, each time to nearest, ties to even
;;
;; A bfloat16 is the upper half of an f32: a vector of 4 words holds the 4 even elements in its lower halves, the 4 odd ones in its
;; upper halves. Halving such a number is exact, it has 16 spare bits at its end; so a/2 + b/2 in f32 is the exact mean, rounded once,
;; and neither overflows nor loses subnormal bits. Every NaN becomes 0x7fc0, on every processor.
(module
  (memory (export "memory") 3)

  ;; a/2 + b/2 as f32 bits, with what rounding to bfloat16 adds: the result is in the upper halves
  (func $mean (param $a v128) (param $b v128) (result v128)
    (local $sum v128)
    (local.set $sum
      (f32x4.add
        (f32x4.mul (local.get $a) (v128.const f32x4 0.5 0.5 0.5 0.5))
        (f32x4.mul (local.get $b) (v128.const f32x4 0.5 0.5 0.5 0.5))))
    (v128.bitselect
      ;; bits + 0x7fff + (the last bit that stays); a carry out of the mantissa reaches infinity rightly
      (i32x4.add
        (i32x4.add (local.get $sum) (v128.const i32x4 0x7fff 0x7fff 0x7fff 0x7fff))
        (v128.and (i32x4.shr_u (local.get $sum) (i32.const 16)) (v128.const i32x4 1 1 1 1)))
      (v128.const i32x4 0x7fc00000 0x7fc00000 0x7fc00000 0x7fc00000)
      (f32x4.eq (local.get $sum) (local.get $sum))))

  ;; $bytes: of each array, at most 65536; what follows up to a multiple of 16 is computed too
  (func (export "mean") (param $bytes i32)
    (local $at i32) (local $a v128) (local $b v128)
    (loop $next
      (local.set $a (v128.load (local.get $at)))
      (local.set $b (v128.load offset=65536 (local.get $at)))
      (v128.store offset=131072 (local.get $at)
        (v128.or
          (i32x4.shr_u
            (call $mean (i32x4.shl (local.get $a) (i32.const 16)) (i32x4.shl (local.get $b) (i32.const 16)))
            (i32.const 16))
          (v128.and
            (call $mean
              (v128.and (local.get $a) (v128.const i32x4 0xffff0000 0xffff0000 0xffff0000 0xffff0000))
              (v128.and (local.get $b) (v128.const i32x4 0xffff0000 0xffff0000 0xffff0000 0xffff0000)))
            (v128.const i32x4 0xffff0000 0xffff0000 0xffff0000 0xffff0000))))
      (local.set $at (i32.add (local.get $at) (i32.const 16)))
      (br_if $next (i32.lt_u (local.get $at) (local.get $bytes))))))
