/** Integers in a typed array that grows. */
export class Ids {
  array = new Int32Array(256);
  size = 0;

  push(id: number): void {
    if (this.size === this.array.length) this.#grow(1);
    this.array[this.size++] = id;
  }

  append(from: Int32Array, start: number, count: number): void {
    if (this.size + count > this.array.length) this.#grow(count);
    const { array } = this;
    let { size } = this;
    // Most words are one or two tokens: a loop beats `set`.
    for (let i = start; i < start + count; i++) array[size++] = from[i]!;
    this.size = size;
  }

  #grow(more: number): void {
    const grown = new Int32Array(2 * (this.size + more));
    grown.set(this.array.subarray(0, this.size));
    this.array = grown;
  }
}
