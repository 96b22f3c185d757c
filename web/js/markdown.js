// Markdown → DOM nodes. It builds elements and text nodes only, never markup from text, so that
// nothing a model writes can become a script, a style or a request.

const MAX_DEPTH = 6;

const INLINE = new RegExp(
  [
    "(?<code>`+)(?<codeText>[^`]{1,2000}?)\\k<code>(?!`)",
    "(?<strong>\\*\\*|__)(?=\\S)(?<strongText>[\\s\\S]{0,800}?\\S)\\k<strong>",
    "(?<em>\\*|(?<![\\w_])_)(?=[^\\s*_])(?<emText>[^*_\\n]{1,400}?)(?<!\\s)(?:\\*|_(?!\\w))",
    "~~(?<del>[^~\\n]{1,400})~~",
    "!?\\[(?<label>[^\\]\\n]{0,400})\\]\\((?<target>[^)\\s]{1,2000})\\)",
    "(?<bare>https?:\\/\\/[^\\s<>()\\[\\]]{1,2000}[^\\s<>()\\[\\].,;:!?'\"])",
    "\\\\(?<escaped>[\\\\`*_{}\\[\\]()#+\\-.!>~|])",
  ].join("|"),
  "g",
);

/** A document fragment for `text`. */
export function renderMarkdown(text) {
  const fragment = document.createDocumentFragment();
  fragment.append(...blocks(text.replaceAll("\r\n", "\n").split("\n"), 0));
  return fragment;
}

function element(name, children, attributes = {}) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function blocks(lines, depth) {
  const nodes = [];
  let at = 0;
  const takeWhile = (wanted) => {
    const start = at;
    while (at < lines.length && wanted(lines[at], at - start)) at += 1;
    return lines.slice(start, at);
  };
  while (at < lines.length) {
    const line = lines[at];
    const fence = /^ {0,3}(```+|~~~+)\s*([\w+#-]*)/.exec(line);
    const heading = /^(#{1,6})\s+(\S.*)$/.exec(line);
    const marker = listMarker(line);
    if (line.trim() === "") {
      at += 1;
    } else if (fence) {
      at += 1;
      const code = takeWhile((next) => !next.trimStart().startsWith(fence[1]));
      at += 1;
      nodes.push(element("pre", [element("code", [code.join("\n")])]));
    } else if (heading) {
      // The page has headings of its own: those of a reply come below them.
      const level = Math.min(6, heading[1].length + 2);
      nodes.push(element(`h${level}`, inline(heading[2].trimEnd(), 0)));
      at += 1;
    } else if (/^ {0,3}([-*_])( *\1){2,} *$/.test(line)) {
      nodes.push(element("hr", []));
      at += 1;
    } else if (/^ {0,3}>/.test(line) && depth < MAX_DEPTH) {
      const quoted = takeWhile((next) => /^ {0,3}>/.test(next));
      const inner = quoted.map((next) => next.replace(/^ {0,3}> ?/, ""));
      nodes.push(element("blockquote", blocks(inner, depth + 1)));
    } else if (marker && depth < MAX_DEPTH) {
      nodes.push(list(marker, takeWhile, depth));
    } else if (line.includes("|") && isTableRule(lines[at + 1] ?? "")) {
      nodes.push(table(takeWhile((next) => next.includes("|"))));
    } else {
      const paragraph = takeWhile((next, n) => n === 0 || (next.trim() !== "" && !opens(next)));
      nodes.push(element("p", withBreaks(paragraph)));
    }
  }
  return nodes;
}

function opens(line) {
  return /^( {0,3}(```|~~~|>)|#{1,6}\s)/.test(line) || listMarker(line) !== null;
}

function isTableRule(line) {
  return line.length < 400 && /^ *\|?( *:?-+:? *\|)+( *:?-+:? *)?$/.test(line);
}

function listMarker(line) {
  const found = /^( *)(?:([-*+])|(\d{1,9})[.)])\s+\S/.exec(line);
  return found && { indent: found[1].length, ordered: found[3] !== undefined, start: found[3] };
}

function list(first, takeWhile, depth) {
  const lines = takeWhile((next, n) => {
    const marker = listMarker(next);
    if (n === 0) return true;
    if (marker && marker.indent <= first.indent) return marker.ordered === first.ordered;
    return marker !== null || /^\s{2,}\S/.test(next);
  });
  const items = [];
  for (const line of lines) {
    const marker = listMarker(line);
    if (marker && marker.indent <= first.indent) {
      items.push([line.replace(/^ *(?:[-*+]|\d{1,9}[.)])\s+/, "")]);
    } else {
      items.at(-1).push(line.replace(new RegExp(`^ {0,${first.indent + 3}}`), ""));
    }
  }
  const children = items.map(([head, ...rest]) =>
    element("li", [...inline(head, 0), ...blocks(rest, depth + 1)]),
  );
  const attributes = first.ordered && first.start !== "1" ? { start: first.start } : {};
  return element(first.ordered ? "ol" : "ul", children, attributes);
}

function table(lines) {
  const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
  const row = (line, name) => element("tr", cells(line).map((cell) => element(name, inline(cell, 0))));
  const body = lines.slice(2).map((line) => row(line, "td"));
  const parts = [element("thead", [row(lines[0], "th")]), element("tbody", body)];
  return element("div", [element("table", parts)], { class: "table", tabindex: "0" });
}

function withBreaks(lines) {
  return lines.flatMap((line, n) => {
    const nodes = inline(line.trim(), 0);
    return n === 0 ? nodes : [element("br", []), ...nodes];
  });
}

function inline(text, depth) {
  if (depth > MAX_DEPTH) return [text];
  const nodes = [];
  let at = 0;
  for (const match of text.matchAll(INLINE)) {
    if (match.index > at) nodes.push(text.slice(at, match.index));
    nodes.push(span(match, depth));
    at = match.index + match[0].length;
  }
  if (at < text.length) nodes.push(text.slice(at));
  return nodes;
}

function span(match, depth) {
  const { codeText, strongText, emText, del, label, target, bare, escaped } = match.groups;
  if (codeText !== undefined) return element("code", [codeText.trim() || codeText]);
  if (strongText !== undefined) return element("strong", inline(strongText, depth + 1));
  if (emText !== undefined) return element("em", inline(emText, depth + 1));
  if (del !== undefined) return element("del", inline(del, depth + 1));
  if (target !== undefined) return link(target, label || target, match[0]);
  if (bare !== undefined) return link(bare, bare, bare);
  return escaped;
}

/** A link to the web or a mail address; anything else, such as `javascript:`, stays text. */
function link(target, label, source) {
  let url;
  try {
    url = new URL(target);
  } catch {
    return source;
  }
  if (!["http:", "https:", "mailto:"].includes(url.protocol)) return source;
  return element("a", [label], { href: url.href, target: "_blank", rel: "noopener noreferrer" });
}
