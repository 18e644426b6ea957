// An answer that pauses before each of its pieces, by the package openai as it is and as it was while its streams took every response in an event for all that there is.
// What fills the pauses must agree with what came before. The answer goes on when the machine is looked at.

import OpenAI from "openai";
import { accumulateResponse } from "openai/lib/responses/ResponseAccumulator";
import EarlierOpenAI from "openai-7-20";
import { accumulateResponse as accumulateEarlier } from "openai-7-20/lib/responses/ResponseAccumulator";
import { report, server } from "./report.mjs";

const ask = { model: "kimi-nano", input: "What is the weather in Oslo?" };
const options = { baseURL: `${server}/v1`, apiKey: "none", maxRetries: 0 };

/** Lets the answer go on once in each pause. */
function watch() {
  let silent = 0;
  return (event) => {
    silent = event.type === "response.in_progress" || event.delta === "" ? silent + 1 : 0;
    if (silent === 3) {
      fetch(new URL("/kimi/machine", server));
    }
  };
}

const said = (response) => response.output.map((item) => item.arguments ?? item.content.map((part) => part.text).join(""));

async function streamed(client) {
  const stream = client.responses.stream(ask);
  stream.on("event", watch());
  return { said: said(await stream.finalResponse()) };
}

async function accumulated(client, accumulate) {
  const next = watch();
  let snapshot;
  let before;
  for await (const event of await client.responses.create({ ...ask, stream: true })) {
    next(event);
    before = snapshot && said(snapshot);
    snapshot = accumulate(event, snapshot);
  }

  return { said: before };
}

await report({
  streamed: () => streamed(new OpenAI(options)),
  accumulated: () => accumulated(new OpenAI(options), accumulateResponse),
  streamedEarlier: () => streamed(new EarlierOpenAI(options)),
  accumulatedEarlier: () => accumulated(new EarlierOpenAI(options), accumulateEarlier),
});
