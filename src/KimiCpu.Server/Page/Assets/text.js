// Shows an answer's text: fenced code in blocks, `code` and **strong** inline, all else as it is. Never as HTML.

const fence = /^```[^\n`]*\n?/;

export function show(element, text) {
  const parts = text.split(/(^```[\s\S]*?(?:^```[ \t]*$|$(?![\s\S])))/m);
  element.replaceChildren(...parts.filter(part => part).flatMap(part => fence.test(part) ? [block(part)] : inline(part)));
}

function block(part) {
  const pre = document.createElement("pre");
  pre.tabIndex = 0;
  pre.append(make("code", part.replace(fence, "").replace(/\n?```[ \t]*$/, "")));
  return pre;
}

function inline(part) {
  return part.split(/(`[^`\n]+`|\*\*[^*\n]+\*\*)/).map(piece =>
    /^`[^`\n]+`$/.test(piece) ? make("code", piece.slice(1, -1))
    : /^\*\*[^*\n]+\*\*$/.test(piece) ? make("strong", piece.slice(2, -2))
    : document.createTextNode(piece));
}

export function make(name, text, className) {
  const element = document.createElement(name);
  element.textContent = text;
  if (className) {
    element.className = className;
  }

  return element;
}
