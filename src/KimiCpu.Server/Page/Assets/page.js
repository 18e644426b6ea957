import { Answer } from "./answer.js";
import { Machine } from "./machine.js";
import { authorization, pieces } from "./stream.js";
import { make } from "./text.js";

const byId = id => document.getElementById(id);
const log = byId("log");
const prompt = byId("prompt");
const empty = byId("empty");
let messages = [];
let running = null;
let name = "kimi";

const key = () => byId("key").value.trim();
const machine = new Machine(key);

byId("key").value = sessionStorage.getItem("kimi-key") ?? "";
byId("key").onchange = () => {
  sessionStorage.setItem("kimi-key", key());
  nameModel();
};
for (const panel of ["settings", "machine"]) {
  byId(`${panel}-toggle`).onclick = () => toggle(panel);
}

byId("new").onclick = () => {
  running?.abort();
  messages = [];
  log.replaceChildren(empty);
  prompt.focus();
};
byId("stop").onclick = () => running?.abort();
byId("form").onsubmit = event => {
  event.preventDefault();
  send();
};
prompt.onkeydown = event => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    send();
  }
};
document.onkeydown = event => {
  if (event.key === "Escape") {
    running?.abort();
  }
};
nameModel();

async function nameModel() {
  try {
    const response = await fetch("v1/models", { headers: authorization(key()) });
    name = response.ok ? (await response.json()).data[0].id : name;
    byId("model").textContent = name;
    document.title = `${name} – KimiCpu`;
    byId("state").textContent = response.status === 401 ? "wants an API key: see Settings" : response.ok ? "" : `the server answered ${response.status}`;
  } catch {
    byId("state").textContent = "the server is not there";
  }
}

async function send() {
  const text = prompt.value.trim();
  if (!text || running) {
    return;
  }

  prompt.value = "";
  empty.remove();
  const mine = make("article", "", "message user");
  mine.setAttribute("aria-label", "You");
  mine.append(make("p", "You", "who"), make("div", text, "text"));
  log.append(mine);
  messages.push({ role: "user", content: text });
  await answer(text);
}

/** Answers, and goes on as long as the model calls tools and gets their results. */
async function answer(question) {
  running = new AbortController();
  const signal = running.signal;
  const conversation = messages;
  const begin = conversation.length - 1;
  busy(true);
  try {
    for (;;) {
      const shown = new Answer(name);
      log.append(shown.element);
      shown.element.scrollIntoView({ block: "nearest" });
      const whole = await stream(shown, conversation, signal);
      if (shown.content || (whole && !shown.cutOff)) {
        conversation.push(shown.message());
      } else if (!signal.aborted && (!whole || conversation.length === begin + 1)) {
        // A turn in which the model said nothing would be an example to it. Behind results, which somebody typed, nothing but the empty answer is left out.
        takeBack(conversation, begin, question);
      }

      if (!whole || shown.calls.length === 0) {
        return;
      }

      byId("announce").textContent = "The model calls a tool and waits for its result.";
      conversation.push(...await shown.results(signal));
    }
  } catch (e) {
    if (!signal.aborted) {
      throw e;
    }

    // Calls without results cannot be gone on from.
    conversation.pop();
  } finally {
    running = null;
    busy(false);
  }
}

/** A question that failed is to be asked again, not twice, and may be what is too long for the context. */
function takeBack(conversation, begin, question) {
  conversation.length = begin;
  if (conversation === messages && prompt.value === "") {
    prompt.value = question;
  }
}

/** Whether the answer came to its end. Of one that was cut off, by the limit of tokens or by a failure, no call is kept, whole ones neither: the last may be half of one. */
async function stream(shown, conversation, signal) {
  const start = performance.now();
  try {
    for await (const piece of pieces(request(conversation), key(), signal)) {
      const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
      shown.add(piece);
      if (atEnd) {
        log.scrollTop = log.scrollHeight;
      }
    }

    if (shown.cutOff) {
      shown.calls = [];
    }

    shown.end((performance.now() - start) / 1000, false);
    byId("announce").textContent = `${name}: ${shown.content}`;
    return true;
  } catch (e) {
    shown.calls = [];
    if (signal.aborted) {
      shown.end((performance.now() - start) / 1000, true);
      byId("announce").textContent = "Stopped.";
    } else {
      shown.fail(e.message);
    }

    log.scrollTop = log.scrollHeight;
    return false;
  }
}

function request(conversation) {
  const number = id => byId(id).value === "" ? undefined : Number(byId(id).value);
  const system = byId("system").value.trim();
  const tools = byId("tools").value.trim();
  return {
    messages: system ? [{ role: "system", content: system }, ...conversation] : conversation,
    temperature: number("temperature"),
    top_p: number("top-p"),
    max_completion_tokens: number("max-tokens"),
    seed: number("seed"),
    reasoning_effort: byId("effort").value || undefined,
    tools: tools ? parse(tools) : undefined,
  };
}

function parse(tools) {
  try {
    return JSON.parse(tools);
  } catch (e) {
    throw new Error(`The tools in Settings are no JSON: ${e.message}`);
  }
}

function busy(on) {
  byId("send").hidden = on;
  byId("stop").hidden = !on;
  log.setAttribute("aria-busy", on);
  if (!on) {
    prompt.focus();
  }
}

function toggle(panel) {
  for (const each of ["settings", "machine"]) {
    const open = each === panel && byId(each).hidden;
    byId(each).hidden = !open;
    byId(`${each}-toggle`).setAttribute("aria-expanded", open);
  }

  machine.show(!byId("machine").hidden);
}
