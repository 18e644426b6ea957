// One answer on the page, built up from the pieces of its stream.

import { make, show } from "./text.js";

export class Answer {
  content = "";
  reasoning = "";
  calls = [];
  cutOff = false;
  #text = make("div", "", "text");
  #thinking = document.createElement("details");
  #thoughts = make("div", "");
  #summary = make("summary", "Reasoning …");
  #cost = make("p", "", "small");

  constructor(name) {
    this.element = make("article", "", "message answer");
    this.element.setAttribute("aria-label", name);
    this.#thinking.append(this.#summary, this.#thoughts);
    this.#thinking.hidden = true;
    this.element.append(make("p", name, "who"), this.#thinking, this.#text, this.#cost);
  }

  add(piece) {
    const choice = piece.choices?.[0];
    const delta = choice?.delta ?? {};
    this.cutOff ||= choice?.finish_reason === "length";
    if (delta.reasoning_content) {
      this.reasoning += delta.reasoning_content;
      this.#thinking.hidden = false;
      this.#thoughts.textContent = this.reasoning;
    }

    if (delta.content) {
      this.content += delta.content;
      this.#summary.textContent = "Reasoning";
      show(this.#text, this.content);
    }

    for (const call of delta.tool_calls ?? []) {
      this.#addCall(call);
    }

    if (piece.usage) {
      this.usage = piece.usage;
    }
  }

  end(seconds, stopped) {
    this.#summary.textContent = "Reasoning";
    const tokens = this.usage?.completion_tokens;
    this.#cost.textContent = [
      stopped ? "stopped" : this.cutOff ? "cut off at the limit of tokens" : "",
      tokens ? `${tokens} tokens, ${(tokens / seconds).toFixed(1)} per second` : "",
      this.usage ? `prompt of ${this.usage.prompt_tokens}, ${this.usage.prompt_tokens_details?.cached_tokens ?? 0} of them cached` : "",
    ].filter(part => part).join("; ");
  }

  fail(message) {
    const problem = make("p", message, "problem");
    problem.setAttribute("role", "alert");
    this.element.append(problem);
  }

  /** Asks the reader for the results of all calls; resolves to messages of the role tool, or to none when there were no calls. */
  results(signal) {
    return Promise.all(this.calls.map(call => new Promise((resolve, reject) => {
      const form = document.createElement("div");
      const box = document.createElement("textarea");
      box.setAttribute("aria-label", `Result of ${call.name}`);
      box.placeholder = "The tool's result";
      const send = make("button", "Give result");
      send.type = "button";
      send.onclick = () => {
        form.replaceWith(make("pre", box.value));
        resolve({ role: "tool", tool_call_id: call.id, content: box.value });
      };
      signal.addEventListener("abort", () => {
        form.remove();
        reject(signal.reason);
      });
      form.append(box, send);
      call.element.append(form);
      box.focus();
    })));
  }

  message() {
    return {
      role: "assistant",
      content: this.content,
      ...(this.reasoning ? { reasoning_content: this.reasoning } : {}),
      ...(this.calls.length ? { tool_calls: this.calls.map(c => ({ id: c.id, type: "function", function: { name: c.name, arguments: c.arguments } })) } : {}),
    };
  }

  #addCall(delta) {
    let call = this.calls[delta.index];
    if (!call) {
      const element = make("section", "", "call");
      const shown = make("pre", "");
      element.setAttribute("aria-label", `Call of ${delta.function.name}`);
      element.append(make("strong", `calls ${delta.function.name}`), shown);
      this.element.insertBefore(element, this.#cost);
      call = this.calls[delta.index] = { id: delta.id, name: delta.function.name, arguments: "", element, shown };
    }

    call.arguments += delta.function?.arguments ?? "";
    call.shown.textContent = call.arguments;
  }
}
