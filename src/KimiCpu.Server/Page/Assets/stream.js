// A streamed chat completion: yields the pieces, and throws with the server's own words where it refuses.

export async function* pieces(body, key, signal) {
  const response = await fetch("v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json", ...authorization(key) },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  if (!response.ok) {
    throw new Error(await refusal(response));
  }

  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) {
      throw new Error("The server ended the answer early.");
    }

    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.split("\n").filter(line => line.startsWith("data:")).map(line => line.slice(5).trimStart()).join("\n");
      if (data === "[DONE]") {
        return;
      }

      const piece = data && JSON.parse(data);
      if (piece?.error) {
        throw new Error(piece.error.message);
      }

      if (piece) {
        yield piece;
      }
    }
  }
}

export function authorization(key) {
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/** What a server that refuses says, in its own words. */
export async function refusal(response) {
  if (response.status === 401) {
    return "This server wants an API key: see Settings.";
  }

  const text = await response.text();
  try {
    return JSON.parse(text).error.message;
  } catch {
    return `The server answered ${response.status}.`;
  }
}
