/** What the page begins with. */
export const exampleText = [
  "A transformer keeps a stream of numbers for every token. Each block reads the stream and adds something to it, so the",
  "stream that leaves a block is the one that entered it, turned by some angle. The first blocks turn it far: they make",
  "words out of pieces of words. The last blocks turn it far again, because they must say which token comes next. Between",
  "them there are blocks that hardly turn it at all, and a model often does nearly as well without them. When such a model",
  "is to learn something new, one can add blocks among the first ones and train only those. What the other blocks hold",
  "stays as it is, and so what was known is not forgotten. The blocks that hardly turned the stream can go, and the model",
  "is no larger than it was before.",
].join(" ");
