/** Markup that may stand in a page as it is. Anything else is text, and gets escaped. */
export class Html {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

type Value = string | number | Html | readonly Html[];

const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** Text for element content and quoted attributes. */
export function escapeHtml(text: string): string {
  // Control characters other than white space are not allowed in HTML, and could hide something.
  const visible = text.replaceAll(/\p{Cc}/gu, (c) => ("\t\n\r".includes(c) ? c : "\uFFFD"));
  return visible.replaceAll(/[&<>"']/g, (c) => entities[c] ?? c);
}

/** A template whose values are escaped unless they are markup already. */
export function html(strings: TemplateStringsArray, ...values: readonly Value[]): Html {
  const text = strings.map((part, i) => part + (i < values.length ? render(values[i] as Value) : ""));
  return new Html(text.join(""));
}

function render(value: Value): string {
  if (value instanceof Html) return value.text;
  if (typeof value === "string" || typeof value === "number") return escapeHtml(String(value));
  return value.map((part) => part.text).join("\n");
}
