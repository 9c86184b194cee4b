// Threads in a workgroup.
override WORKGROUP: u32 = 64;
