// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

System.Console.WriteLine("kimi");
