// Vercel's AI SDK, as conversation.py tells, with the provider that the command line names: "compatible" or "openai".
// Its own loop runs both turns: it calls the tool and builds the history.
import readline from "node:readline";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const MOST_TOKENS = 1000;

const weather = tool({
  description: "Current weather in a city",
  inputSchema: z.strictObject({ city: z.string(), unit: z.enum(["celsius", "fahrenheit"]) }),
  strict: true,
  execute: async () => ({ temperature: 21, sky: "clear" }),
});

const providers = {
  compatible: (asked) =>
    createOpenAICompatible({ name: "router", baseURL: asked.base_url, apiKey: "none", includeUsage: true })(asked.model),
  openai: (asked) => createOpenAI({ baseURL: asked.base_url, apiKey: "none" }).chat(asked.model),
};

function turn(step) {
  const invalid = step.toolCalls.filter((call) => call.invalid || call.dynamic);
  if (invalid.length > 0) throw new Error(`invalid calls: ${JSON.stringify(invalid)}`);
  const calls = step.toolCalls.map((call) => ({ id: call.toolCallId, name: call.toolName, arguments: call.input }));
  return { text: step.text, calls, finish: step.finishReason.replaceAll("-", "_") };
}

async function converse(model, asked) {
  const first = asked.choice === "named" ? { type: "tool", toolName: "get_weather" } : asked.choice;
  const request = {
    model,
    prompt: "What is the weather in Paris?",
    seed: asked.seed,
    maxOutputTokens: MOST_TOKENS,
    maxRetries: 0,
    tools: { get_weather: weather },
    stopWhen: stepCountIs(2),
    prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? first : "none" }),
  };
  if (!asked.is_streamed) return (await generateText(request)).steps.map(turn);
  const answer = streamText({ ...request, onError: () => {} });
  for await (const part of answer.fullStream) {
    if (part.type === "error") throw part.error;
  }
  return (await answer.steps).map(turn);
}

const provider = providers[process.argv[2]];
for await (const line of readline.createInterface({ input: process.stdin })) {
  let told;
  try {
    const asked = JSON.parse(line);
    told = { turns: await converse(provider(asked), asked) };
  } catch (error) {
    told = { error: `${error.name}: ${error.message}`, trace: error.stack };
  }
  console.log(JSON.stringify(told));
}
