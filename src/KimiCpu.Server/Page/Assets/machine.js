// The live view of the machine: asks while it is open, a second after each answer.

import { authorization, refusal } from "./stream.js";

const byId = id => document.getElementById(id);

export class Machine {
  #key;
  #closed = new AbortController();

  constructor(key) {
    this.#key = key;
  }

  show(open) {
    this.#closed.abort();
    if (open) {
      this.#closed = new AbortController();
      this.#watch(this.#closed.signal);
    }
  }

  async #watch(closed) {
    while (!closed.aborted) {
      await this.#ask(closed);
      await new Promise(resolve => setTimeout(resolve, 1000));
    }
  }

  async #ask(closed) {
    try {
      const response = await fetch("kimi/machine", { headers: authorization(this.#key()), signal: closed });
      if (!response.ok) {
        throw new Error(await refusal(response));
      }

      this.#draw(await response.json());
    } catch (e) {
      if (!closed.aborted) {
        byId("placement").textContent = e.message;
      }
    }
  }

  #draw(state) {
    byId("placement").textContent = state.failure ?? state.placement;
    byId("rate").textContent = state.tokens_per_second.toFixed(1);
    byId("prompt-rate").textContent = state.prompt_tokens_per_second.toFixed(1);
    byId("running").textContent = state.running_calls;
    byId("waiting").textContent = state.waiting_calls;
    meter("pages", state.used_cache_pages, state.cache_pages, `${state.used_cache_pages} of ${state.cache_pages} pages, ${state.reusable_cache_pages} kept for reuse`);
    const read = state.bytes_per_second / 1e9;
    const most = state.memory_bytes_per_second && state.memory_bytes_per_second / 1e9;
    meter("bytes", read, most ?? Math.max(read, 1), `${read.toFixed(1)} ${most ? `of ${most.toFixed(1)} ` : ""}GB/s read`);
    this.#drawDrive(state);
    this.#drawExperts(state.expert_uses);
  }

  // Where all experts are in memory there is nothing to say; where they are not, it stays when the model pauses.
  #drawDrive(state) {
    const hits = state.expert_hit_rate;
    if (hits !== null) {
      byId("drive-title").hidden = byId("drive").hidden = false;
    }

    byId("drive").textContent = `${(state.drive_bytes_per_second / 1e9).toFixed(2)} GB/s read${hits === null ? "" : `, ${(100 * hits).toFixed(0)} % of experts found in memory`}`;
  }

  #drawExperts(uses) {
    const layers = uses.filter(layer => layer.length > 0);
    const canvas = byId("map");
    const columns = Math.max(1, ...layers.map(layer => layer.length));
    const zoom = Math.max(1, Math.floor(384 / columns));
    canvas.width = columns * zoom;
    canvas.height = Math.max(1, layers.length) * zoom;
    const context = canvas.getContext("2d");
    let used = 0;
    layers.forEach((layer, y) => {
      const most = Math.max(1, ...layer);
      layer.forEach((n, x) => {
        used += n > 0 ? 1 : 0;
        context.fillStyle = n > 0 ? `hsl(${215 - 175 * n / most} 85% ${30 + 30 * n / most}%)` : "transparent";
        context.fillRect(x * zoom, y * zoom, zoom, zoom);
      });
    });
    byId("map-text").textContent = `${layers.length} layers of ${columns} experts; ${used} of ${layers.length * columns} used since the model was opened. Bright: used most in its layer.`;
  }
}

function meter(id, value, most, text) {
  const element = byId(id);
  element.max = most;
  element.value = Math.min(value, most);
  element.setAttribute("aria-label", text);
  byId(`${id}-text`).textContent = text;
}
