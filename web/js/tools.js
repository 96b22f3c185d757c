// The sample tool: what the page offers the model, and how it answers.

export const GET_WEATHER = {
  type: "function",
  name: "get_weather",
  description: "The weather in a city, right now.",
  parameters: {
    type: "object",
    properties: { city: { type: "string", description: "The city, such as Paris." } },
    required: ["city"],
  },
};

const SKIES = ["sunny", "cloudy", "rainy", "windy", "foggy", "snowy"];

/** The made-up weather of a city; the same city always has the same. */
function weatherIn(city) {
  let sum = 0;
  for (const letter of city.toLowerCase()) sum = (sum * 31 + letter.codePointAt(0)) % 9973;
  const celsius = 4 + (sum % 24);
  const sky = celsius > 6 ? SKIES[sum % 5] : "snowy";
  return `${sky} and ${celsius} degrees in ${city}`;
}

/** The output of a call the page can answer itself; null for any other tool. */
export function answerCall(name, argumentsJson) {
  if (name !== GET_WEATHER.name) return null;
  try {
    const { city } = JSON.parse(argumentsJson);
    return typeof city === "string" && city ? weatherIn(city) : "error: which city?";
  } catch {
    return "error: the arguments are not JSON";
  }
}
