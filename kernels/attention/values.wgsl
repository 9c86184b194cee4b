// How many values a head has. Where shaders are compiled for the processor, loops over them stay loops: unrolled, as registers
// want them, a head of 128 takes a minute to compile.
#const N
fn values() -> u32 {
#if ROLLED
  return p.values;
#else
  return N;
#endif
}
