// What the scripts share: whom they ask, what they ask, and how they say what they saw.

export const server = process.argv[2];
export const capital = "What is the capital of France?";
export const weather = "What is the weather in Oslo?";

/** Runs cases one after the other and prints what each saw, or how it failed, as one line of JSON. */
export async function report(cases) {
  const seen = {};
  for (const [name, run] of Object.entries(cases)) {
    try {
      seen[name] = await run();
    } catch (error) {
      seen[name] = { failed: error?.stack ?? String(error) };
    }
  }

  console.log(JSON.stringify(seen));
}

/** The error that a request ends with. */
export async function refusal(request) {
  try {
    await request();
  } catch (error) {
    return error;
  }

  throw new Error("The request was answered.");
}

/** Waits until this many calls run in the model; says how many do in the end. */
export async function running(calls) {
  let found;
  for (let i = 0; i < 500; i++) {
    found = (await (await fetch(new URL("/kimi/machine", server))).json()).running_calls;
    if (found === calls) {
      break;
    }

    await new Promise((resolve) => setTimeout(resolve, 20));
  }

  return found;
}
