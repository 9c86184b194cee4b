// The kernels of a file for each head size: included once at its end, after SLAYER_ATTENTION(E) was defined.
#define SLAYER_ATTENTION_OF(E) SLAYER_ATTENTION(E)
#if defined(SLAYER_HEAD)
SLAYER_ATTENTION_OF(SLAYER_HEAD)
#else
SLAYER_ATTENTION(64)
SLAYER_ATTENTION(128)
#if !defined(__CUDACC__)  // that sizes compiled on request are right is tested on the host
SLAYER_ATTENTION(80)
SLAYER_ATTENTION(192)
#endif
#endif
